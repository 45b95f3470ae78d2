"""Whatever was read before, the next id is chosen as if the whole transcript had just been read."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.chat.prefix_cache import PrefixCache
from compressor.decoding import Pruning, Sampling
from compressor.errors import NumericalError

transcripts = st.lists(st.lists(st.integers(5, 20), max_size=6), min_size=2, max_size=4)


@given(transcripts)
def test_a_transcript_is_read_as_if_for_the_first_time_but_for_the_shared_prefix(model, texts):
    image, cache = torch.linspace(-1, 1, 5 * model.width).view(5, -1), PrefixCache(model)
    for text in texts:
        ids, before, fresh = [1, model.image_token_id, 7, *text], [*cache.ids], PrefixCache(model)
        shared = max(k for k in range(len(ids)) if before[:k] == ids[:k])
        whole = len(ids) - 1 + len(image)
        assert fresh.prefill(ids, image, Sampling()) == whole
        assert cache.prefill(ids, image, Sampling()) == (len(ids) - shared if before else whole)
        torch.testing.assert_close(cache.request.logits, fresh.request.logits, atol=1e-5, rtol=0)
        assert cache.ids == ids and cache.request.position == whole


def test_a_step_reads_the_pending_id(model):
    image, cache = torch.ones(5, model.width), PrefixCache(model)
    cache.prefill([1, model.image_token_id, 7], image, Sampling())
    pending = cache.request.pending
    cache.step()
    assert cache.ids == [1, model.image_token_id, 7, pending]
    assert cache.prefill([*cache.ids, 9, 10], image, Sampling()) == 2


def test_a_cache_that_other_ids_decided_is_not_reused(model):
    image, cache = torch.ones(5, model.width), PrefixCache(model)
    ids = [1, model.image_token_id, 7, 8]
    cache.prefill(ids, image, Sampling())
    assert cache.prefill(ids, image, Sampling()) == 1
    assert cache.prefill(ids, image, Sampling(), None, (1, 2)) == 8 and cache.request.position == 8
    assert cache.prefill(ids, image, Sampling(), None, (1, 2)) == 1
    assert cache.prefill(ids, image, Sampling()) == 8


def test_after_a_reset_all_is_read_again(model):
    image, cache = torch.ones(5, model.width), PrefixCache(model)
    ids = [1, model.image_token_id, 7, 8]
    cache.prefill(ids, image, Sampling(), None, (1, 2))
    cache.reset()
    assert cache.ids == [] and cache.request.cache_bytes == 0
    assert cache.prefill(ids, image, Sampling(), None, (1, 2)) == 8


@pytest.mark.parametrize(
    "following", [[1, "image", 7, 8, 12], [1, "image", 7, 8, 9, 10, 11, 6], [1, 5, "image"]]
)
def test_a_failed_prefill_changes_nothing_of_what_was_read(model, monkeypatch, following):
    """The three begin after the image, after all that was read, and before the image."""
    image, cache = torch.linspace(-1, 1, 5 * model.width).view(5, -1), PrefixCache(model)
    ids = [1, model.image_token_id, 7, 8, 9, 10]
    cache.prefill(ids, image, Sampling())
    cache.step()
    request, before, size = cache.request, dict(vars(cache.request)), cache.request.cache_bytes
    held = list(cache.ids)
    with monkeypatch.context() as broken:
        broken.setattr(model.hf.lm_head, "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new = [model.image_token_id if token == "image" else token for token in following]
            cache.prefill(new, image, Sampling(1.0), lambda: Pruning(1, 5, lambda attention: 1 / 0))
    assert cache.request is request and vars(request) == before
    assert cache.ids == held and request.cache_bytes == size
    cache.step()
    fresh = PrefixCache(model)
    fresh.prefill(cache.ids, image, Sampling())
    torch.testing.assert_close(cache.request.logits, fresh.request.logits, atol=1e-5, rtol=0)


def test_a_failed_step_changes_nothing_of_what_was_read(model, monkeypatch):
    image, cache = torch.ones(5, model.width), PrefixCache(model)
    cache.prefill([1, model.image_token_id, 7], image, Sampling())
    before = dict(vars(cache.request))
    with monkeypatch.context() as broken:
        broken.setattr(model.hf.lm_head, "forward", lambda x: torch.full((1, 9), torch.nan))
        with pytest.raises(NumericalError):
            cache.step()
    assert cache.ids == [1, model.image_token_id, 7] and vars(cache.request) == before
