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
    going_on = []
    for pruning, positions, length in zip(prunings, kept, lengths, strict=True):
        rows = torch.arange(length, device=device)
        if pruning and pruning.layer == layer:  # in a first prefill rows and positions are the same
            rows = torch.cat([positions.to(device), rows[pruning.query + 1 :]])
        going_on.append(rows)
    return going_on


def take(values: Tensor | None, kept: Sequence[Tensor]) -> Tensor | None:
    """Of something per token, (B, L, ...), what the kept rows of each sequence hold: (B, L', ...)."""
    if values is None:
        return None
    return pad_sequence(
        [each[rows.to(each.device)] for each, rows in zip(values, kept, strict=True)], batch_first=True
    )
