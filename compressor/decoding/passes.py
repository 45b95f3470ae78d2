"""One pass of a decoder over what is new: prefill, step, and a whole sequence without a cache."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from compressor.decoding.cache import Cache
from compressor.decoding.pruning import Pruning, deciding_attention, kept_rows, take
from compressor.decoding.request import Request, shared_cache
from compressor.errors import NumericalError
from compressor.models.base import Decoder, PromptEmbeddings, on_device


def prefill(
    decoder: Decoder, requests: Sequence[Request], prompts: Sequence[PromptEmbeddings | Tensor]
) -> list[int]:
    """Read new embeddings after what each request has in its cache, and choose the next id of each.

    Where it raises, whatever it is, all requests are as they were; so it is with `step`.

    Args:
        decoder: of the model.
        requests: any number, new or with caches of different lengths.
        prompts: per request, L >= 1 tokens; in a later turn they begin with the pending id's. A plain tensor
            (L, d) is text.
    Returns:
        the next id of each request, also its `pending`.
    Raises:
        NumericalError: the logits are not finite.
    """
    embeddings = [PromptEmbeddings(prompt) if isinstance(prompt, Tensor) else prompt for prompt in prompts]
    embeds = pad_sequence([prompt.embeddings for prompt in embeddings], batch_first=True)  # (B, L, d)
    lengths = [len(prompt) for prompt in embeddings]
    image_mask = _padded_mask(embeddings) if decoder.takes_image_mask else None
    return _forward(decoder, requests, embeds, lengths, image_mask)


def _padded_mask(prompts: Sequence[PromptEmbeddings]) -> Tensor | None:
    """The image masks of sequences of different lengths, (B, L), or None where all of them are text."""
    if all(prompt.image_mask is None for prompt in prompts):
        return None
    masks = [
        prompt.embeddings.new_zeros(len(prompt), dtype=torch.bool)
        if prompt.image_mask is None
        else prompt.image_mask
        for prompt in prompts
    ]
    return pad_sequence(masks, batch_first=True)


def step(decoder: Decoder, requests: Sequence[Request]) -> list[int]:
    """Read the pending id of each request and choose the next: one token for all in one pass.

    Args:
        decoder: of the model.
        requests: any number, each read by `prefill` before.
    Returns:
        the next id of each request, also its `pending`.
    Raises:
        NumericalError: the logits are not finite.
    """
    logits = requests[0].logits
    assert logits is not None  # a prefill has chosen what is pending from them
    ids = on_device([[request.pending] for request in requests], logits.device)
    return _forward(decoder, requests, decoder.embed(ids), [1] * len(requests))


def hidden_states(
    decoder: Decoder, embeds: Tensor, checkpointed: bool = False, image_mask: Tensor | None = None
) -> Tensor:
    """One causal pass over whole sequences without a cache, with a graph where the input has one.

    Args:
        decoder: of the model.
        embeds: (B, L, d), padded at the end.
        checkpointed: keep only what enters each layer, and run the layer again in the backward pass.
        image_mask: (B, L) booleans, True for the tokens of an image; None where there is none.
    Returns:
        (B, L, d) after the final norm.
    """
    positions = torch.arange(embeds.shape[1], device=embeds.device).expand(embeds.shape[:2])
    rotary, x = decoder.rotary(embeds, position_ids=positions), embeds
    for layer in decoder.layers:
        call = partial(
            layer,
            attention_mask=None,
            position_embeddings=rotary,
            position_ids=positions,
            **_image_argument(decoder, image_mask),
        )
        x = checkpoint(call, x, use_reentrant=False) if checkpointed else call(x)
    return decoder.norm(x)


def _image_argument(decoder: Decoder, image_mask: Tensor | None) -> dict[str, Tensor]:
    """The argument of a layer call that says which tokens show an image, for the decoders that take it."""
    return {} if image_mask is None or not decoder.takes_image_mask else {"image_mask": image_mask}


def _forward(
    decoder: Decoder,
    requests: Sequence[Request],
    x: Tensor,
    lengths: list[int],
    image_mask: Tensor | None = None,
) -> list[int]:
    """Read x (B, L, d), of which row b brings `lengths[b]` tokens, and choose the next id of each request.

    The requests change only after all of it has succeeded.
    """
    cache = shared_cache(requests, len(decoder.layers))
    prunings = [None if request.position else request.pruning for request in requests]
    kept = [None if pruning is None else pruning.kept for pruning in prunings]
    try:
        cache.incoming = lengths
        starts = on_device([request.position for request in requests], x.device)
        positions = starts[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, L)
        logits = decoder.head(decoder.norm(_read(decoder, cache, x, positions, prunings, kept, image_mask)))
        next_ids = _choose(requests, logits)
    except BaseException:
        cache.discard()
        raise
    cache.commit()
    for row, (request, pruning) in enumerate(zip(requests, prunings, strict=True)):
        request.cache, request.row = cache, row
        request.position += lengths[row]
        request.pending, request.logits = next_ids[row], logits[row]
        if pruning is not None:
            pruning.kept = kept[row]
    return next_ids


def _read(
    decoder: Decoder,
    cache: Cache,
    x: Tensor,
    positions: Tensor,
    prunings: Sequence[Pruning | None],
    kept: list[Tensor | None],
    image_mask: Tensor | None,
) -> Tensor:
    """The state of the last token of each row after all layers, (B, d), of x (B, L, d) at `positions` (B, L).

    What the prunings decide is written into `kept`, row by row.
    """
    rotary = decoder.rotary(x, position_ids=positions)
    mask, mask_lengths = None, None
    for index, layer in enumerate(decoder.layers):
        if index in {pruning.layer for pruning in prunings if pruning}:
            rows = kept_rows(cache.incoming, prunings, kept, index, x.device)
            x, positions = take(x, rows), take(positions, rows)
            image_mask = None if image_mask is None else take(image_mask, rows)
            cache.incoming = [len(indices) for indices in rows]
            rotary, mask_lengths = decoder.rotary(x, position_ids=positions), None
        if cache.lengths[index] != mask_lengths:  # the layers may differ in what they hold
            mask_lengths = cache.lengths[index]
            mask = _mask(mask_lengths, x)
        layer_input = x
        x = layer(
            x,
            attention_mask=mask,
            position_embeddings=rotary,
            position_ids=positions,
            cache=cache,
            use_cache=True,
            **_image_argument(decoder, image_mask),
        )
        for row, pruning in enumerate(prunings):
            if pruning and pruning.layer == index + 1 and kept[row] is None:
                attention = deciding_attention(decoder, cache, index, row, layer_input, rotary, pruning.query)
                kept[row] = pruning.select(attention)
    return _last(x, cache.incoming)


def _choose(requests: Sequence[Request], logits: Tensor) -> list[int]:
    """The next id of each request, from logits (B, vocabulary).

    Raises:
        NumericalError: the largest logit of a row is not a finite number.
    """
    largest, ids = logits.max(-1)
    # for all at once, the check included: here the host waits
    probable = torch.where(largest.isfinite(), ids, -1).tolist()
    if -1 in probable:
        precision = str(logits.dtype).removeprefix("torch.")
        raise NumericalError(
            f"The numbers of this model overflow in {precision}; load it in another precision."
        )
    generators = [request.sampling.generator for request in requests]
    states = [generator.get_state() for generator in generators]
    try:
        return [
            request.sampling.choose(row) if request.sampling.temperature else best
            for request, row, best in zip(requests, logits, probable, strict=True)
        ]
    except BaseException:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        raise


def _last(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """The last valid state of each row, (B, L, d) -> (B, d)."""
    if len(set(lengths)) == 1:
        return x[:, lengths[0] - 1]
    return x[torch.arange(len(x), device=x.device), on_device(lengths, x.device) - 1]


def _mask(lengths: Sequence[int], x: Tensor) -> Tensor | None:
    """Additive mask (B, 1, L, keys): a query sees what its row holds and itself; None where causal is enough.

    Args:
        lengths: entries of each row before this pass.
        x: (B, L, d), for its length, dtype and device; padded queries see more than they should and are never
            read.
    """
    count = x.shape[1]
    if (count == 1 or not any(lengths)) and len(set(lengths)) == 1:
        return None  # padding is at the end, so causal attention from an empty cache never sees it
    starts = on_device(lengths, x.device)
    queries = starts[:, None, None] + torch.arange(count, device=x.device)[:, None]  # (B, L, 1)
    future = torch.arange(max(lengths) + count, device=x.device) > queries  # (B, L, keys)
    return x.new_zeros(future.shape).masked_fill(future, torch.finfo(x.dtype).min)[:, None]
