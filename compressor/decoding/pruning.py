"""Tokens that leave a sequence inside the decoder, and the attention that decides which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compressor.decoding.cache import Cache
from compressor.models.base import Decoder


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


def deciding_attention(
    decoder: Decoder,
    cache: Cache,
    layer: int,
    row: int,
    layer_input: Tensor,
    rotary: tuple[Tensor, Tensor],
    query: int,
) -> Tensor:
    """Attention (heads, query + 1) of one position of a row over all up to it, in a layer that has just run.

    One row of one layer is computed anew from the cached keys, so that every layer keeps its fused attention.

    Args:
        decoder: of the model.
        cache: that holds the keys of the layer.
        layer: index of the layer.
        row: of the cache.
        layer_input: hidden states that entered the layer, (B, L, d).
        rotary: cos and sin of its L tokens.
        query: the position.
    """
    at = slice(query, query + 1)
    cos, sin = (part[row : row + 1, at] for part in rotary)
    q = decoder.queries(layer, layer_input[row : row + 1, at], (cos, sin))[0]  # (heads, 1, d_k)
    buffer = cache.keys[layer]
    assert buffer is not None  # the layer has just written it
    keys = buffer[row, :, : query + 1]
    keys = keys.repeat_interleave(len(q) // len(keys), dim=0)  # heads may share keys
    return (q.float() @ keys.float().mT)[:, 0].softmax(-1)


def kept_rows(
    lengths: Sequence[int],
    prunings: Sequence[Pruning | None],
    kept: Sequence[Tensor | None],
    layer: int,
    device: torch.device,
) -> list[Tensor]:
    """Which tokens of each sequence go on after the prunings that act at this layer.

    Args:
        lengths: tokens of each sequence.
        prunings: of each.
        kept: the positions that each pruning keeps.
        layer: K.
        device: of the result.
    """
    rows_of_sequences = []
    for pruning, positions, length in zip(prunings, kept, lengths, strict=True):
        rows = torch.arange(length, device=device)
        if pruning and pruning.layer == layer:  # in a first prefill rows and positions are the same
            assert positions is not None  # decided by the layer before
            rows = torch.cat([positions.to(device), rows[pruning.query + 1 :]])
        rows_of_sequences.append(rows)
    return rows_of_sequences


def take(values: Tensor, kept: Sequence[Tensor]) -> Tensor:
    """Those of some values per token that belong to the kept tokens of each sequence, padded at the end.

    Args:
        values: (B, L, ...).
        kept: indices of the kept tokens of each sequence.
    Returns:
        (B, L', ...), L' being the largest number of kept tokens.
    """
    return pad_sequence(
        [sequence[rows.to(sequence.device)] for sequence, rows in zip(values, kept, strict=True)],
        batch_first=True,
    )
