"""Whatever was read before, the next id is chosen as if the whole transcript had just been read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.chat.prefix_cache import Reading, closed_answer
from compressor.decoding import Pruning, Sampling
from compressor.errors import NumericalError

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


def test_what_was_read_can_be_read_anew(model):
    image, reading = torch.ones(5, model.width), Reading(model)
    ids = [1, model.image_token_id, 7, 8]
    reading.prefill(ids, image, Sampling())
    assert reading.prefill(ids, image, Sampling()) == 1
    assert reading.prefill(ids, image, Sampling(), anew=True) == 8 and reading.request.position == 8


@pytest.mark.parametrize("said", [[], [7], [7, 8]])
def test_an_answer_is_closed_once(model, said):
    assert closed_answer(model, said) == closed_answer(model, [*said, model.eos_id]) == [*said, model.eos_id]


@pytest.mark.parametrize(
    "following", [[1, "image", 7, 8, 12], [1, "image", 7, 8, 9, 10, 11, 6], [1, 5, "image"]]
)
def test_a_failed_prefill_changes_nothing_of_what_was_read(model, monkeypatch, following):
    """The three begin after the image, after all that was read, and before the image."""
    image, reading = torch.linspace(-1, 1, 5 * model.width).view(5, -1), Reading(model)
    ids = [1, model.image_token_id, 7, 8, 9, 10]
    reading.prefill(ids, image, Sampling())
    reading.step()
    request, before, cache = reading.request, dict(vars(reading.request)), reading.request.cache_bytes
    held = list(reading.ids)
    with monkeypatch.context() as broken:
        broken.setattr(model.hf.lm_head, "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new = [model.image_token_id if token == "image" else token for token in following]
            reading.prefill(new, image, Sampling(1.0), lambda: Pruning(1, 5, lambda attention: 1 / 0))
    assert reading.request is request and vars(request) == before
    assert reading.ids == held and request.cache_bytes == cache
    reading.step()
    fresh = Reading(model)
    fresh.prefill(reading.ids, image, Sampling())
    torch.testing.assert_close(reading.request.logits, fresh.request.logits, atol=1e-5, rtol=0)


def test_a_failed_step_changes_nothing_of_what_was_read(model, monkeypatch):
    image, reading = torch.ones(5, model.width), Reading(model)
    reading.prefill([1, model.image_token_id, 7], image, Sampling())
    before = dict(vars(reading.request))
    with monkeypatch.context() as broken:
        broken.setattr(model.hf.lm_head, "forward", lambda x: torch.full((1, 9), torch.nan))
        with pytest.raises(NumericalError):
            reading.step()
    assert reading.ids == [1, model.image_token_id, 7] and vars(reading.request) == before
