"""Prefill and step against caches, on a `Decoder`: knows nothing else of a model.

Requests that are read together share one cache, one row each, so that a step copies nothing; whoever comes or
goes makes it be rebuilt once. Rows and layers may differ in length: a request may have tokens pruned at the
input of a layer, and those keep their absolute positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from compressor.models.base import Decoder, PromptEmbeddings, on_device


@dataclass
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: 0 takes the most probable token.
        top_p: smallest set of tokens with this probability to draw from, in (0, 1].
        generator: of the draw, on the CPU.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    generator: torch.Generator | None = None

    def choose(self, logits: Tensor) -> int:
        """The next id from logits (vocabulary,)."""
        if self.temperature == 0:
            return int(logits.argmax())
        p = (logits.float().cpu() / self.temperature).softmax(-1)
        values, ids = p.sort(descending=True, stable=True)
        values[values.cumsum(-1) - values >= self.top_p] = 0.0  # the first always stays
        return int(ids[torch.multinomial(values, 1, generator=self.generator)])


class Cache:
    """Keys and values of B rows per layer, in buffers (B, heads, capacity, width) that grow by an eighth."""

    def __init__(self, layers: int, rows: int) -> None:
        self.lengths = [[0] * rows for _ in range(layers)]  # entries in use, per layer and row
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.incoming = [0] * rows  # entries that the present forward adds to each row of the layer in work
        self._uncommitted: list[list[int] | None] = [None] * layers
        self._ends: tuple[list[int], Tensor] | None = None  # the same for every layer that holds as many

    @property
    def rows(self) -> int:
        """Number of requests that share the cache."""
        return len(self.incoming)

    def update(self, keys: Tensor, values: Tensor, layer: int, **_: object) -> tuple[Tensor, Tensor]:
        """Append (B, heads, L, width), row b bringing `incoming[b]`; returns all entries, padded at the end.

        The entries count only after `commit`, so that a forward that fails leaves the cache as it was.
        """
        self._uncommitted[layer] = self.incoming
        starts, needed = self.lengths[layer], keys.shape[2] + max(self.lengths[layer])
        if not any(starts):
            self.keys[layer], self.values[layer] = keys, values  # a first prefill needs no copy
            return keys, values
        self.keys[layer] = _grown(self.keys[layer], keys, needed)
        self.values[layer] = _grown(self.values[layer], values, needed)
        self._write(self.keys[layer], keys, starts)
        self._write(self.values[layer], values, starts)
        return self.keys[layer][:, :, :needed], self.values[layer][:, :, :needed]

    def _write(self, buffer: Tensor, new: Tensor, starts: list[int]) -> None:
        """Put the new entries (B, heads, L, width) behind those of each row."""
        if len(set(zip(starts, self.incoming, strict=True))) == 1:
            buffer[:, :, starts[0] : starts[0] + self.incoming[0]] = new
        elif new.shape[2] == 1:
            if self._ends is None or self._ends[0] != starts:
                self._ends = (list(starts), on_device(starts, new.device))
            buffer[torch.arange(self.rows, device=new.device), :, self._ends[1]] = new[:, :, 0]
        else:
            for row, (start, count) in enumerate(zip(starts, self.incoming, strict=True)):
                buffer[row, :, start : start + count] = new[row, :, :count]

    def commit(self) -> None:
        """Count what the last `update` of every layer brought."""
        for layer, added in enumerate(self._uncommitted):
            self.lengths[layer] = [start + new for start, new in zip(self.lengths[layer], added, strict=True)]

    def size_bytes(self, row: int) -> int:
        """Bytes of the entries that a row uses, keys and values of all layers."""
        return sum(
            2 * lengths[row] * keys.shape[1] * keys.shape[3] * keys.element_size()
            for lengths, keys in zip(self.lengths, self.keys, strict=True)
            if keys is not None
        )

    @classmethod
    def gather(cls, parts: Sequence[tuple["Cache", int]]) -> "Cache":
        """One cache of the given rows of other caches, copied."""
        layers = len(parts[0][0].lengths)
        made = cls(layers, len(parts))
        for layer in range(layers):
            made.lengths[layer] = [cache.lengths[layer][row] for cache, row in parts]
            filled = [(cache, row) for cache, row in parts if cache.keys[layer] is not None]
            if filled:
                capacity = max(made.lengths[layer]) + 16
                made.keys[layer] = _stacked(
                    [(c.keys[layer], r) for c, r in parts], made.lengths[layer], capacity
                )
                made.values[layer] = _stacked(
                    [(c.values[layer], r) for c, r in parts], made.lengths[layer], capacity
                )
        return made


def _grown(buffer: Tensor | None, like: Tensor, needed: int) -> Tensor:
    """A buffer with room for `needed` entries: the given one, or its content in a larger one."""
    if buffer is not None and buffer.shape[2] >= needed:
        return buffer
    rows, heads, _, width = like.shape
    # zeros, not empty: masked entries are still multiplied by a weight of 0, and 0 * NaN is NaN
    grown = like.new_zeros(rows, heads, needed + needed // 8 + 16, width)
    if buffer is not None:
        grown[:, :, : buffer.shape[2]] = buffer
    return grown


def _stacked(parts: Sequence[tuple[Tensor | None, int]], lengths: Sequence[int], capacity: int) -> Tensor:
    like = next(buffer for buffer, _ in parts if buffer is not None)
    stacked = like.new_zeros(len(parts), like.shape[1], capacity, like.shape[3])
    for index, ((buffer, row), length) in enumerate(zip(parts, lengths, strict=True)):
        if buffer is not None:
            stacked[index, :, :length] = buffer[row, :, :length]
    return stacked


@dataclass(eq=False)
class Pruning:
    """Which tokens leave a sequence at the input of a layer, decided by the attention of the layer before.

    Args:
        layer: K, the first layer that reads the kept tokens only, at least 1.
        query: the absolute position whose attention decides.
        select: from its attention in layer K - 1, (heads, query + 1), to the kept positions, ascending.
        kept: these positions, where they were decided before; filled in by the prefill where not.
    """

    layer: int
    query: int
    select: Callable[[Tensor], Tensor]
    kept: Tensor | None = None


@dataclass(eq=False)
class Request:
    """One sequence being decoded.

    Args:
        sampling: how its tokens are chosen.
        pruning: takes effect in the first prefill.
    Attributes:
        pending: the last chosen id, which has no cache entry yet.
        logits: (vocabulary,), what it was chosen from.
        position: the next absolute position.
        cache, row: where its entries are; None before the first prefill.
    """

    sampling: Sampling = field(default_factory=Sampling)
    pruning: Pruning | None = None
    pending: int | None = None
    logits: Tensor | None = None
    position: int = 0
    cache: Cache | None = None
    row: int = 0

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values in use."""
        return 0 if self.cache is None else self.cache.size_bytes(self.row)

    def rewind(self, count: int) -> None:
        """Forget the last `count` entries of every layer; they must be text, which no layer drops."""
        if self.cache is not None:
            for lengths in self.cache.lengths:
                lengths[self.row] -= count
        self.position -= count
        self.pending = self.logits = None


def prefill(
    decoder: Decoder, requests: Sequence[Request], prompts: Sequence[PromptEmbeddings | Tensor]
) -> list[int]:
    """Read new embeddings after what each request has in its cache, and choose the next id of each.

    Args:
        decoder: of the model.
        requests: any number, new or with caches of different lengths.
        prompts: per request, L >= 1 tokens; in a later turn they begin with the pending id's. A plain tensor
            (L, d) is text.
    Returns:
        the next id of each request, also its `pending`.
    """
    prompts = [PromptEmbeddings(each) if isinstance(each, Tensor) else each for each in prompts]
    embeds = pad_sequence([each.embeddings for each in prompts], batch_first=True)  # (B, L, d)
    lengths = [len(each) for each in prompts]
    image_mask = _padded_mask(prompts) if decoder.takes_image_mask else None
    return _forward(decoder, requests, embeds, lengths, image_mask)


def _padded_mask(prompts: Sequence[PromptEmbeddings]) -> Tensor | None:
    """The image masks of sequences of different lengths, (B, L), or None where all of them are text."""
    if all(each.image_mask is None for each in prompts):
        return None
    masks = [
        each.embeddings.new_zeros(len(each), dtype=torch.bool) if each.image_mask is None else each.image_mask
        for each in prompts
    ]
    return pad_sequence(masks, batch_first=True)


def step(decoder: Decoder, requests: Sequence[Request]) -> list[int]:
    """Read the pending id of each request and choose the next: one token for all in one pass.

    Returns:
        the next id of each request, also its `pending`.
    """
    device = requests[0].logits.device
    ids = on_device([[request.pending] for request in requests], device)
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
    """The argument of a layer call that says which tokens show an image, for the decoders that want it."""
    wanted = decoder.takes_image_mask and image_mask is not None
    return {"image_mask": image_mask} if wanted else {}


def _forward(
    decoder: Decoder,
    requests: Sequence[Request],
    x: Tensor,
    lengths: list[int],
    image_mask: Tensor | None = None,
) -> list[int]:
    cache = _shared(requests, len(decoder.layers))
    cache.incoming = lengths
    starts = on_device([request.position for request in requests], x.device)
    positions = starts[:, None] + torch.arange(x.shape[1], device=x.device)  # (B, L)
    rotary = decoder.rotary(x, position_ids=positions)
    prunings = [None if request.position else request.pruning for request in requests]
    mask, mask_lengths = None, None
    for index, layer in enumerate(decoder.layers):
        if index in {pruning.layer for pruning in prunings if pruning}:
            kept = _kept_rows(cache.incoming, prunings, index, x.device)
            x, positions, image_mask = (_take(each, kept) for each in (x, positions, image_mask))
            cache.incoming = [len(rows) for rows in kept]
            rotary, mask_lengths = decoder.rotary(x, position_ids=positions), None
        if cache.lengths[index] != mask_lengths:  # the layers may differ in what they hold
            mask_lengths = cache.lengths[index]
            mask = _mask(mask_lengths, cache.incoming, x)
        entering = x
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
            if pruning and pruning.layer == index + 1 and pruning.kept is None:
                attention = _attention(decoder, cache, index, row, entering, rotary, pruning.query)
                pruning.kept = pruning.select(attention)
    cache.commit()
    logits = decoder.head(decoder.norm(_last(x, cache.incoming)))  # (B, vocabulary)
    best = logits.argmax(-1).tolist()  # for all at once: here the host waits
    for request, row, length, probable in zip(requests, logits, lengths, best, strict=True):
        request.logits, request.position = row, request.position + length
        request.pending = request.sampling.choose(row) if request.sampling.temperature else probable
    return [request.pending for request in requests]


def _last(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """The last valid state of each row, (B, L, d) -> (B, d)."""
    if len(set(lengths)) == 1:
        return x[:, lengths[0] - 1]
    return x[torch.arange(len(x), device=x.device), on_device(lengths, x.device) - 1]


def _attention(
    decoder: Decoder,
    cache: Cache,
    layer: int,
    row: int,
    entering: Tensor,
    rotary: tuple[Tensor, Tensor],
    query: int,
) -> Tensor:
    """Attention (heads, query + 1) of one position of a row over all up to it, in a layer that has just run.

    One row of one layer is computed anew from the cached keys, so that every layer keeps its fused attention.
    """
    at = slice(query, query + 1)
    cos, sin = (part[row : row + 1, at] for part in rotary)
    q = decoder.queries(layer, entering[row : row + 1, at], (cos, sin))[0]  # (heads, 1, d_k)
    keys = cache.keys[layer][row, :, : query + 1]
    keys = keys.repeat_interleave(len(q) // len(keys), dim=0)  # heads may share keys
    return (q.float() @ keys.float().mT)[:, 0].softmax(-1)


def _kept_rows(
    lengths: Sequence[int], prunings: Sequence[Pruning | None], layer: int, device: torch.device
) -> list[Tensor]:
    """Which tokens of each sequence go on after the prunings that act at this layer."""
    kept = []
    for pruning, length in zip(prunings, lengths, strict=True):
        rows = torch.arange(length, device=device)
        if pruning and pruning.layer == layer:  # in a first prefill rows and positions are the same
            rows = torch.cat([pruning.kept.to(device), rows[pruning.query + 1 :]])
        kept.append(rows)
    return kept


def _take(values: Tensor | None, kept: Sequence[Tensor]) -> Tensor | None:
    """Of something per token, (B, L, ...), what the kept rows of each sequence hold: (B, L', ...)."""
    if values is None:
        return None
    return pad_sequence(
        [each[rows.to(each.device)] for each, rows in zip(values, kept, strict=True)], batch_first=True
    )


def _shared(requests: Sequence[Request], layers: int) -> Cache:
    """The cache whose rows are exactly these requests, made from their own ones where there is none."""
    cache = requests[0].cache
    if cache is not None and [(r.cache is cache, r.row) for r in requests] == [
        (True, row) for row in range(cache.rows)
    ]:
        return cache
    cache = Cache.gather([(request.cache or Cache(layers, 1), request.row) for request in requests])
    for row, request in enumerate(requests):
        request.cache, request.row = cache, row
    return cache


def _mask(held: Sequence[int], new: Sequence[int], x: Tensor) -> Tensor | None:
    """Additive mask (B, 1, L, keys): a query sees what its row holds and itself; None where causal is enough.

    Args:
        held: entries of each row before this pass.
        new: valid queries of each row; the padded ones see more than they should and are never read.
        x: (B, L, d), for its length, dtype and device.
    """
    count = x.shape[1]
    if (count == 1 or not any(held)) and len(set(held)) == 1:
        return None  # padding is at the end, so causal attention from an empty cache never sees it
    starts = on_device(held, x.device)
    queries = starts[:, None, None] + torch.arange(count, device=x.device)[:, None]  # (B, L, 1)
    hidden = torch.arange(max(held) + count, device=x.device) > queries  # (B, L, keys)
    return x.new_zeros(hidden.shape).masked_fill(hidden, torch.finfo(x.dtype).min)[:, None]
