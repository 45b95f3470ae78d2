"""Decoding many requests at once says what decoding each alone says."""

import torch

from compressor.decoding import Request, hidden_states, prefill, step
from tests.decoding.reference import alone


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
def test_later_turns_of_a_batch_may_differ_in_length(model, sequences):
    more = [torch.randn(length, model.width) for length in (3, 5, 1)]
    requests = [Request() for _ in sequences]
    prefill(model.decoder, requests, sequences)
    prefill(model.decoder, requests, more)
    for request, first, second in zip(requests, sequences, more, strict=True):
        torch.testing.assert_close(
            request.logits, alone(model, torch.cat([first, second]), 0)[0], atol=1e-5, rtol=0
        )


def test_hidden_states_are_those_of_the_stock_model_and_differentiable(model, sequences):
    embeds = torch.stack([sequences[0], sequences[0].flip(0)]).requires_grad_()
    states = hidden_states(model.decoder, embeds)
    stock = model.hf.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    torch.testing.assert_close(states, stock, atol=1e-5, rtol=0)
    states.sum().backward()
    assert embeds.grad.abs().sum() > 0
