"""Decoding many requests at once says what decoding each alone says."""

import pytest
import torch

from compressor.decoding import Request, Sampling, hidden_states, prefill, step


def alone(model, embeds, steps):
    """Logits (steps + 1, vocabulary) of one request, each from a whole stock forward without a cache."""
    rows = []
    for _ in range(steps + 1):
        with torch.no_grad():
            h = model.hf.model.language_model(inputs_embeds=embeds[None], use_cache=False).last_hidden_state
            rows.append(model.hf.lm_head(h[0, -1]))
            embeds = torch.cat([embeds, model.decoder.embed(rows[-1].argmax())[None]])
    return torch.stack(rows)


@pytest.fixture
def sequences(model):
    return [torch.randn(length, model.width) for length in (7, 1, 12)]


@torch.no_grad()
def test_a_batch_of_different_lengths_equals_separate_forwards(model, sequences):
    requests = [Request() for _ in sequences]
    prefill(model.decoder, requests, sequences)
    seen = [[request.logits] for request in requests]
    for _ in range(4):
        ids = step(model.decoder, requests)
        assert ids == [request.pending for request in requests]
        for each, request in zip(seen, requests, strict=True):
            each.append(request.logits)
    for each, embeds in zip(seen, sequences, strict=True):
        torch.testing.assert_close(torch.stack(each), alone(model, embeds, 4), atol=1e-5, rtol=0)


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
def test_later_turns_of_a_batch_may_differ_in_length(model, sequences):
    more = [torch.randn(length, model.width) for length in (3, 5, 1)]
    requests = [Request() for _ in sequences]
    prefill(model.decoder, requests, sequences)
    prefill(model.decoder, requests, more)
    for request, first, second in zip(requests, sequences, more, strict=True):
        torch.testing.assert_close(
            request.logits, alone(model, torch.cat([first, second]), 0)[0], atol=1e-5, rtol=0
        )


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


def test_hidden_states_are_those_of_the_stock_model_and_differentiable(model, sequences):
    embeds = torch.stack([sequences[0], sequences[0].flip(0)]).requires_grad_()
    states = hidden_states(model.decoder, embeds)
    stock = model.hf.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    torch.testing.assert_close(states, stock, atol=1e-5, rtol=0)
    states.sum().backward()
    assert embeds.grad.abs().sum() > 0


def test_sampling():
    logits = torch.tensor([0.0, 3.0, 2.9, -5.0])
    assert Sampling().choose(logits) == 1
    draws = {Sampling(1.0, 1.0, torch.Generator().manual_seed(seed)).choose(logits) for seed in range(40)}
    assert {1, 2} <= draws
    nucleus = {Sampling(1.0, 0.3, torch.Generator().manual_seed(seed)).choose(logits) for seed in range(40)}
    assert nucleus == {1}
