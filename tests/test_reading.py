"""Whatever was read before, the next id is chosen as if the whole transcript had just been read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.decoding import Sampling
from compressor.reading import Reading, closed_answer

transcripts = st.lists(st.lists(st.integers(5, 20), max_size=6), min_size=2, max_size=4)


@given(transcripts)
def test_a_transcript_is_read_as_if_for_the_first_time_but_for_the_shared_prefix(model, texts):
    image, reading = torch.linspace(-1, 1, 5 * model.width).view(5, -1), Reading(model)
    for text in texts:
        ids, before, fresh = [1, model.image_token_id, 7, *text], [*reading.ids], Reading(model)
        shared = max(k for k in range(len(ids)) if before[:k] == ids[:k])
        whole = len(ids) - 1 + len(image)
        assert fresh.prefill(ids, image, Sampling()) == whole
        assert reading.prefill(ids, image, Sampling()) == (len(ids) - shared if before else whole)
        torch.testing.assert_close(reading.request.logits, fresh.request.logits, atol=1e-5, rtol=0)
        assert reading.ids == ids and reading.request.position == whole


def test_a_step_reads_the_pending_id(model):
    image, reading = torch.ones(5, model.width), Reading(model)
    reading.prefill([1, model.image_token_id, 7], image, Sampling())
    pending = reading.request.pending
    reading.step()
    assert reading.ids == [1, model.image_token_id, 7, pending]
    assert reading.prefill([*reading.ids, 9, 10], image, Sampling()) == 2


@pytest.mark.parametrize("said", [[], [7], [7, 8]])
def test_an_answer_is_closed_once(model, said):
    assert closed_answer(model, said) == closed_answer(model, [*said, model.eos_id]) == [*said, model.eos_id]
