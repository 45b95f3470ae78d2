"""Separators kept out of the compression: a method reads the patches, and separators come back as they are.

Without it they are tokens like any other, as in the published results of MetaCompress, FastV and DivPrune.
"""

import torch
from torch import Tensor

from compressor.errors import InvalidOptionError
from compressor.geometry import PATCH
from compressor.methods.base import Method
from compressor.methods.selection import complement
from compressor.projection import Projection
from compressor.tokens import ImageTokens


class ReinsertSeparators(Method):
    """Another method on the patches, and separators as one-hot rows, which are part of the m rows.

    All separators return if they are at most half of the m tokens, otherwise half of m, at equal distances.
    The method's rows keep their order; a separator stands behind those whose mean place is before its own.

    Args:
        method: acts on the projector's output.
    Raises:
        InvalidOptionError: it acts elsewhere, or its matrix is given.
    """

    def __init__(self, method: Method) -> None:
        if method.stage != "embedding" or method.needs_input:
            raise InvalidOptionError(
                f"{method.title} does not choose among separators: leave the option separators out."
            )
        self.method, self.needs = method, method.needs
        self.name, self.title, self.description = method.name, method.title, method.description

    @property
    def label(self) -> str:
        """That of the method."""
        return self.method.label

    def projection(self, tokens: ImageTokens, budget: int) -> Projection:
        """That of the method where there are no separators."""
        if bool((tokens.layout.kinds == PATCH).all()):
            return self.method.projection(tokens, budget)
        return super().projection(tokens, budget)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """The rows of the patches and the one-hot rows of separators, (m, n)."""
        device = tokens.embeddings.device
        patch = torch.from_numpy(tokens.layout.kinds == PATCH).to(device)
        patches, separators = patch.nonzero()[:, 0], (~patch).nonzero()[:, 0]
        count = min(len(separators), budget // 2)
        patch_tokens = ImageTokens(
            tokens.features[patch], tokens.embeddings[patch], tokens.layout.without_separators()
        )
        rows = self.method.projection(patch_tokens, min(budget - count, len(patch_tokens))).weights
        if len(rows) == len(patch_tokens):  # nothing was reduced
            count = len(separators)
        reinserted = separators[
            (2 * torch.arange(count, device=device) + 1) * len(separators) // max(2 * count, 1)
        ]
        means = (rows.detach() @ patches.to(rows.dtype)) / rows.detach().sum(1)
        places = (means[:, None] < reinserted).sum(0) + torch.arange(count, device=device)
        weights = rows.new_zeros(len(rows) + count, len(tokens))
        weights[complement(len(weights), places)[:, None], patches] = rows
        weights[places, reinserted] = 1.0
        return weights
