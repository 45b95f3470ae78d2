"""Methods that do not look at the image: all tokens, random ones, equidistant ones."""

import torch
from torch import Tensor

from compressor import options
from compressor.methods.base import Method
from compressor.projection import Projection
from compressor.tokens import ImageTokens


def select(indices: Tensor, n: int) -> Tensor:
    """The P (m, n) that keeps some tokens and drops the others.

    Args:
        indices: of the kept tokens, (m,).
        n: tokens of the image.
    """
    weights = torch.zeros(len(indices), n, device=indices.device)
    weights[torch.arange(len(indices), device=indices.device), indices] = 1.0
    return weights


def argsort_desc(scores: Tensor) -> Tensor:
    """Indices (n,) in order of falling score; equal scores keep their order.

    Args:
        scores: (n,).
    """
    return scores.sort(descending=True, stable=True).indices


def complement(n: int, kept: Tensor) -> Tensor:
    """The indices below n that are not kept, ascending, (n - m,).

    Args:
        n: number of indices.
        kept: (m,) different indices below n.
    """
    mask = torch.zeros(n, dtype=torch.uint8, device=kept.device)
    mask[kept] = 1
    return mask.sort(stable=True).indices[: n - len(kept)]  # `nonzero` would make the host wait for a GPU


class Uncompressed(Method):
    """All tokens, whatever the budget says: the reference."""

    name = "none"
    title = "None"
    description = (
        "Nothing is reduced. The language model reads every image token; the reference for the others."
    )

    def projection(self, tokens: ImageTokens, budget: int) -> Projection:
        """The identity; `budget` is ignored."""
        return super().projection(tokens, len(tokens))

    def output_length(self, tokens: ImageTokens, budget: int) -> int:
        """n; `budget` is ignored."""
        return len(tokens)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """The identity, (n, n)."""
        return torch.eye(len(tokens), device=tokens.embeddings.device)


class Random(Method):
    """A uniform random choice of tokens, in the order of the image.

    Args:
        seed: of the choice. The same seed keeps the same positions of every image with as many tokens, and a
            smaller budget keeps a part of what a larger one keeps; evaluations give each image its own seed.
    Raises:
        InvalidOptionError: it is no whole number from 0 to 2**63 - 1.
    """

    name = "random"
    title = "Random"
    description = "Keeps tokens drawn at random. It does not look at the image, and the seed fixes the draw."

    def __init__(self, seed: int = 0) -> None:
        self.seed = options.seed("seed of Random", seed)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """One-hot rows at the drawn tokens, in ascending order."""
        generator = torch.Generator().manual_seed(self.seed)
        indices = torch.randperm(len(tokens), generator=generator)[:budget].sort().values
        return select(indices.to(tokens.embeddings.device), len(tokens))


class Sample(Method):
    """Equidistant tokens of the sequence: index_i = floor((i + 1/2) n / m), the middles of m equal stretches.

    Source: the baseline "Sample" of MetaCompress, section 6; the offset of a half is our choice.
    """

    name = "sample"
    title = "Sample"
    description = "Keeps every k-th token along the sequence. It does not look at the image."

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """One-hot rows at equal distances."""
        n = len(tokens)
        steps = torch.arange(budget, device=tokens.embeddings.device)
        return select((2 * steps + 1) * n // (2 * budget), n)
