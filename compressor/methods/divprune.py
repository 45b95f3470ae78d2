"""DivPrune: the m tokens that are farthest from each other stay.

Source: Alvar et al., "DivPrune: Diversity-based Visual Token Pruning" (CVPR 2025), and its published code.
"""

import torch
from torch import Tensor

from compressor.methods.base import Method
from compressor.methods.selection import select
from compressor.methods.similarity import normalize_rows
from compressor.tokens import ImageTokens


def divprune_indices(embeddings: Tensor, budget: int) -> Tensor:
    """Greedy max-min selection by cosine distance.

    The first token is the one farthest from its nearest other; each next one is farthest from all chosen. A
    chosen token is never chosen again, as it can be in the published code when tokens are equal.

    Args:
        embeddings: the projector's output, (n, d).
        budget: m, from 1 to n.
    Returns:
        (m,) ascending.
    """
    unit = normalize_rows(embeddings)
    distance = 1 - unit @ unit.T
    nearest = distance.clone().fill_diagonal_(torch.inf).amin(1) if len(unit) > 1 else unit.new_zeros(1)
    # (1,): the host would read a tensor of no dimension that serves as an index
    farthest = nearest.argmax(keepdim=True)
    kept, nearest = [farthest], distance[farthest][0]
    nearest.index_fill_(0, farthest, -torch.inf)
    for _ in range(budget - 1):
        farthest = nearest.argmax(keepdim=True)
        kept.append(farthest)
        nearest = torch.minimum(nearest, distance[farthest][0])
        nearest.index_fill_(0, farthest, -torch.inf)
    return torch.cat(kept).sort().values


class DivPrune(Method):
    """Selection of the most different tokens, in the order of the image."""

    name = "divprune"
    title = "DivPrune"
    description = "Keeps the patches that differ most from each other. It sees the image, never the question."

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """One-hot rows in ascending order."""
        indices = divprune_indices(tokens.embeddings.float(), budget)
        return select(indices, len(tokens))
