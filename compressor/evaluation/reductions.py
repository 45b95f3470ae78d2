"""What the language model is given of images, whatever reduces them and wherever."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from compressor.chat.batch import Prune
from compressor.chat.prompt_pruning import prompt_pruning
from compressor.methods.base import DecoderMethod, Method
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection
from compressor.tokens import ImageTokens

Projections = Callable[[Sequence[ImageTokens], Sequence[int]], Sequence[Projection]]


@dataclass(frozen=True, eq=False)
class Reduction:
    """One image as the language model is given it.

    Args:
        image: (m, d), or (n, d) where the language model prunes itself.
        m: tokens that stay.
        prune: what leaves inside the decoder once it reads a prompt; None where nothing does.
    """

    image: Tensor
    m: int
    prune: Prune | None = None


@torch.no_grad()
def reductions(
    model: VisionLanguageModel,
    method: Method | Projections,
    tokens: Sequence[ImageTokens],
    budgets: Sequence[int],
) -> list[Reduction]:
    """Reduce several images at once.

    Args:
        model: that will read them.
        method: of any stage, or what gives the P of all images as `Method.projections` does.
        tokens: of each image.
        budgets: m of each.
    """
    if isinstance(method, DecoderMethod):
        return [_pruned(model, method, each, m) for each, m in zip(tokens, budgets, strict=True)]
    project = method.projections if isinstance(method, Method) else method
    projections = project(tokens, budgets)
    return [Reduction(model.compress(each, p), p.m) for each, p in zip(tokens, projections, strict=True)]


def _pruned(model: VisionLanguageModel, method: DecoderMethod, tokens: ImageTokens, budget: int) -> Reduction:
    n, prune = len(tokens), None
    if budget < n:
        image_id = model.image_token_id
        prune = partial(prompt_pruning, method, image_token_id=image_id, n=n, budget=budget)
    return Reduction(tokens.embeddings, budget, prune)
