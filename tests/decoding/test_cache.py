"""What a cache holds is what its requests have read, whoever shares it and whatever was forgotten."""

import pytest
import torch

from compressor.decoding import Request, prefill, step
from tests.decoding.reference import alone


@torch.no_grad()
def test_requests_may_join_and_leave(model, sequences):
    requests = [Request() for _ in sequences]
    for request, embeds in zip(requests, sequences, strict=True):
        prefill(model.decoder, [request], [embeds])
    step(model.decoder, requests)
    step(model.decoder, [requests[2], requests[0]])
    step(model.decoder, requests[:1])
    step(model.decoder, requests)
    for request, embeds, count in zip(requests, sequences, (4, 2, 3), strict=True):
        torch.testing.assert_close(request.logits, alone(model, embeds, count)[-1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_rewind_forgets_the_end(model, sequences):
    request = Request()
    prefill(model.decoder, [request], [sequences[0]])
    used = request.cache_bytes
    prefill(model.decoder, [request], [sequences[2]])
    request.rewind(len(sequences[2]))
    assert request.cache_bytes == used and request.position == 7
    prefill(model.decoder, [request], [sequences[1]])
    expected = alone(model, torch.cat([sequences[0], sequences[1]]), 0)[0]
    torch.testing.assert_close(request.logits, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_failed_pass_leaves_the_cache_as_it_was(model, sequences, monkeypatch):
    request = Request()
    prefill(model.decoder, [request], [sequences[0]])
    used, pending = request.cache_bytes, request.pending
    with monkeypatch.context() as broken:
        broken.setattr(model.decoder.layers[2], "forward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            step(model.decoder, [request])
    assert request.cache_bytes == used and request.pending == pending
    step(model.decoder, [request])
    torch.testing.assert_close(request.logits, alone(model, sequences[0], 1)[1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_layers_may_hold_different_numbers_of_entries(model, sequences):
    """Entries dropped from the upper layers only, as by a method inside the decoder, are masked per layer."""
    request = Request()
    prefill(model.decoder, [request], [sequences[2]])
    keep = torch.tensor([0, 3, 4, 9, 11])
    cache = request.cache
    for layer in (1, 2):
        cache.keys[layer], cache.values[layer] = (
            cache.keys[layer][:, :, keep],
            cache.values[layer][:, :, keep],
        )
        cache.lengths[layer] = [len(keep)]
    new = torch.randn(3, model.width)
    prefill(model.decoder, [request], [new])
    expected = dropped_reference(model, sequences[2], keep, new)
    torch.testing.assert_close(request.logits, expected, atol=1e-5, rtol=0)


def dropped_reference(model, first, keep, new):
    """Logits after `new`, whose queries in layers 1 and 2 do not see what `keep` leaves out of `first`."""
    x, length = torch.cat([first, new])[None], len(first)
    positions = torch.arange(x.shape[1])[None]
    full = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
    fewer = full.clone()
    gone = [j for j in range(length) if j not in keep.tolist()]
    for row in range(length, x.shape[1]):
        fewer[row, gone] = float("-inf")
    for index, layer in enumerate(model.decoder.layers):
        x = layer(
            x,
            attention_mask=(fewer if index else full)[None, None],
            position_embeddings=model.decoder.rotary(x, position_ids=positions),
        )
    return model.hf.lm_head(model.decoder.norm(x[0, -1]))
