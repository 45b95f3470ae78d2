"""A pass that fails, wherever it does, changes nothing of what its requests hold."""

from dataclasses import replace

import pytest
import torch

from compressor.decoding import Pruning, Request, Sampling, prefill, step
from compressor.errors import NumericalError
from tests.decoding.reference import alone


class Broken(Sampling):
    """A draw that fails."""

    def choose(self, logits):
        raise ZeroDivisionError


def fails(*_, **__):
    raise ZeroDivisionError


def broken_decoder(decoder, place):
    """The decoder, failing in its last layer, its final norm or its head."""
    if place == "layer":
        return replace(decoder, layers=[*decoder.layers[:-1], fails])
    return replace(decoder, **{place: fails})


def held(request):
    """All that a request holds, so that it can be compared."""
    kept = None if request.pruning is None else request.pruning.kept
    lengths = request.cache and [layer[request.row] for layer in request.cache.lengths]
    return [request.pending, request.logits, request.position, lengths, request.cache_bytes, kept]


def same(before, after):
    return all(
        torch.equal(a, b) if torch.is_tensor(a) else a == b for a, b in zip(before, after, strict=True)
    )


@pytest.mark.parametrize("place", ["layer", "norm", "head", "draw"])
@pytest.mark.parametrize("read", ["prefill", "step"])
@torch.no_grad()
def test_a_failed_pass_leaves_all_requests_as_they_were(model, sequences, place, read):
    requests = [Request() for _ in sequences]
    prefill(model.decoder, requests, sequences)
    before, cache = [held(request) for request in requests], requests[0].cache
    decoder = model.decoder if place == "draw" else broken_decoder(model.decoder, place)
    if place == "draw":
        requests[2].sampling = Broken(1.0)
    arguments = [[torch.randn(k, model.width) for k in (4, 2, 3)]] if read == "prefill" else []
    with pytest.raises(ZeroDivisionError):
        {"prefill": prefill, "step": step}[read](decoder, requests, *arguments)
    assert all(map(same, before, map(held, requests)))
    assert [(request.cache, request.row) for request in requests] == [(cache, row) for row in range(3)]
    requests[2].sampling = Sampling()
    step(model.decoder, requests)
    for request, embeds in zip(requests, sequences, strict=True):
        torch.testing.assert_close(request.logits, alone(model, embeds, 1)[1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_failed_first_pass_leaves_requests_new(model, sequences):
    requests = [Request(), Request(pruning=Pruning(1, 0, lambda attention: torch.tensor([0])))]
    before = [held(request) for request in requests]
    with pytest.raises(ZeroDivisionError):
        prefill(broken_decoder(model.decoder, "head"), requests, sequences[:2])
    assert all(map(same, before, map(held, requests)))
    assert [request.cache for request in requests] == [None, None]


@torch.no_grad()
def test_a_failed_pass_joins_no_requests(model, sequences):
    requests = [Request() for _ in sequences]
    for request, embeds in zip(requests, sequences, strict=True):
        prefill(model.decoder, [request], [embeds])
    caches = [request.cache for request in requests]
    with pytest.raises(ZeroDivisionError):
        step(broken_decoder(model.decoder, "head"), requests)
    assert [(request.cache, request.row) for request in requests] == [(cache, 0) for cache in caches]


@torch.no_grad()
def test_a_draw_that_fails_gives_back_the_draws_before_it(model, sequences):
    draw = torch.Generator().manual_seed(5)
    requests = [Request(Sampling(1.0, 1.0, draw)), Request(Broken(1.0))]
    with pytest.raises(ZeroDivisionError):
        prefill(model.decoder, requests, sequences[:2])
    assert torch.equal(draw.get_state(), torch.Generator().manual_seed(5).get_state())


def overflowing(decoder, row, value):
    """The decoder, whose logits hold `value` in one row."""

    def head(x):
        logits = decoder.head(x)
        logits[row, 3] = value
        return logits

    return replace(decoder, head=head)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@torch.no_grad()
def test_logits_that_are_no_numbers_are_an_error(model, sequences, temperature, value):
    requests = [Request(Sampling(temperature)) for _ in sequences]
    broken = overflowing(model.decoder, 1, value)
    with pytest.raises(NumericalError, match="overflow in float32; load it in another precision"):
        prefill(broken, requests, sequences)
    prefill(model.decoder, requests, sequences)
    before = [held(request) for request in requests]
    with pytest.raises(NumericalError):
        step(broken, requests)
    assert all(map(same, before, map(held, requests)))


@torch.no_grad()
def test_all_logits_of_minus_infinity_are_an_error_and_some_are_not(model, sequences):
    nothing = replace(model.decoder, head=lambda x: model.decoder.head(x).fill_(-torch.inf))
    with pytest.raises(NumericalError):
        prefill(nothing, [Request()], sequences[:1])
    prefill(overflowing(model.decoder, 0, -torch.inf), [Request()], sequences[:1])


@torch.no_grad()
def test_the_error_names_the_precision(model, sequences):
    head = replace(model.decoder, head=lambda x: model.decoder.head(x).half() * torch.nan)
    with pytest.raises(NumericalError, match="float16"):
        prefill(head, [Request()], sequences[:1])


@torch.no_grad()
def test_what_a_failed_pass_wrote_spreads_to_no_later_one(model, sequences):
    """Rows of a batch differ in length, and a masked NaN behind the end of the shorter is still read."""
    requests = [Request() for _ in sequences]
    prefill(model.decoder, requests, sequences)
    with pytest.raises(NumericalError):
        prefill(model.decoder, requests, [torch.full((6, model.width), torch.nan) for _ in sequences])
    step(model.decoder, requests)
    for request, embeds in zip(requests, sequences, strict=True):
        torch.testing.assert_close(request.logits, alone(model, embeds, 1)[1], atol=1e-5, rtol=0)
