"""The keys and values that requests which are read together share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from compressor.models.base import on_device


class Cache:
    """Keys and values of B rows per layer, in buffers (B, heads, capacity, width) that grow by an eighth."""

    def __init__(self, layers: int, rows: int) -> None:
        self.lengths = [[0] * rows for _ in range(layers)]  # entries in use, per layer and row
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.incoming = [0] * rows  # entries that the present forward adds to each row of the layer in work
        self._uncommitted = [
            [0] * rows for _ in range(layers)
        ]  # what the last `update` of each layer brought
        self._ends: tuple[list[int], Tensor] | None = None  # the same for every layer that holds as many

    @property
    def rows(self) -> int:
        """Number of requests that share the cache."""
        return len(self.incoming)

    def update(self, keys: Tensor, values: Tensor, layer: int, **_: object) -> tuple[Tensor, Tensor]:
        """Append to a layer, row b `incoming[b]` entries; returns all entries, padded at the end.

        The entries count only after `commit`, so that a forward that fails leaves the cache as it was.

        Args:
            keys: (B, heads, L, width), padded at the end.
            values: (B, heads, L, width), padded at the end.
            layer: index of the layer.
        """
        self._uncommitted[layer] = self.incoming
        starts, needed = self.lengths[layer], keys.shape[2] + max(self.lengths[layer])
        if not any(starts):
            self.keys[layer], self.values[layer] = keys, values  # a first prefill needs no copy
            return keys, values
        all_keys = self.keys[layer] = _with_capacity(self.keys[layer], keys, needed)
        all_values = self.values[layer] = _with_capacity(self.values[layer], values, needed)
        self._write(all_keys, keys, starts)
        self._write(all_values, values, starts)
        return all_keys[:, :, :needed], all_values[:, :, :needed]

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
        for layer, counts in enumerate(self._uncommitted):
            self.lengths[layer] = [
                length + count for length, count in zip(self.lengths[layer], counts, strict=True)
            ]

    def discard(self) -> None:
        """Clear what was written but not counted: a row of a batch may read it masked, and 0 * NaN is NaN."""
        for buffers in (self.keys, self.values):
            for buffer, lengths in zip(buffers, self.lengths, strict=True):
                if buffer is not None:
                    for row, length in enumerate(lengths):
                        buffer[row, :, length:] = 0

    def rewind(self, row: int, count: int) -> None:
        """Remove the last entries that a row has in every layer.

        Args:
            row: of the cache.
            count: number of entries.
        """
        for lengths in self.lengths:
            lengths[row] -= count

    @contextmanager
    def rewinding(self, row: int, count: int) -> Iterator[None]:
        """Remove the last entries of a row while a block runs, and afterwards unless it raised.

        The entries are copied, because a forward writes in their place.

        Args:
            row: of the cache.
            count: number of entries.
        """
        lengths, keys, values = [list(layer) for layer in self.lengths], list(self.keys), list(self.values)
        ends = [
            buffer[row, :, counts[row] - count : counts[row]]
            for buffers in (keys, values)
            for buffer, counts in zip(buffers, lengths, strict=True)
            if count and buffer is not None
        ]
        copies = [end.clone() for end in ends]
        self.rewind(row, count)
        try:
            yield
        except BaseException:
            self.lengths, self.keys, self.values = lengths, keys, values
            for end, copy in zip(ends, copies, strict=True):
                end.copy_(copy)
            raise

    def size_bytes(self, row: int) -> int:
        """Bytes of the entries that a row uses, keys and values of all layers.

        Args:
            row: of the cache.
        """
        return sum(
            2 * lengths[row] * keys.shape[1] * keys.shape[3] * keys.element_size()
            for lengths, keys in zip(self.lengths, self.keys, strict=True)
            if keys is not None
        )

    @classmethod
    def gather(cls, parts: Sequence[tuple["Cache", int]]) -> "Cache":
        """One cache of rows of other caches, copied.

        Args:
            parts: a cache and the row to copy from it, for each row of the result.
        """
        layers = len(parts[0][0].lengths)
        gathered = cls(layers, len(parts))
        for layer in range(layers):
            gathered.lengths[layer] = [cache.lengths[layer][row] for cache, row in parts]
            filled = [(cache, row) for cache, row in parts if cache.keys[layer] is not None]
            if filled:
                capacity = max(gathered.lengths[layer]) + 16
                gathered.keys[layer] = _stacked(
                    [(c.keys[layer], r) for c, r in parts], gathered.lengths[layer], capacity
                )
                gathered.values[layer] = _stacked(
                    [(c.values[layer], r) for c, r in parts], gathered.lengths[layer], capacity
                )
        return gathered


def _with_capacity(buffer: Tensor | None, like: Tensor, needed: int) -> Tensor:
    """A buffer with room for `needed` entries: this one, or its content in a larger one."""
    if buffer is not None and buffer.shape[2] >= needed:
        return buffer
    rows, heads, _, width = like.shape
    # zeros, not empty: masked entries are still multiplied by a weight of 0, and 0 * NaN is NaN
    larger = like.new_zeros(rows, heads, needed + needed // 8 + 16, width)
    if buffer is not None:
        larger[:, :, : buffer.shape[2]] = buffer
    return larger


def _stacked(parts: Sequence[tuple[Tensor | None, int]], lengths: Sequence[int], capacity: int) -> Tensor:
    like = next(buffer for buffer, _ in parts if buffer is not None)
    stacked = like.new_zeros(len(parts), like.shape[1], capacity, like.shape[3])
    for index, ((buffer, row), length) in enumerate(zip(parts, lengths, strict=True)):
        if buffer is not None:
            stacked[index, :, :length] = buffer[row, :, :length]
    return stacked
