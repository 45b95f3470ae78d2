"""ToMe: the most similar tokens are averaged, round after round, until m are left.

Source: Bolya et al., "Token Merging: Your ViT But Faster" (ICLR 2023), and its published code. There is no
official version for LLaVA: here it merges the vision encoder's output, with running sizes and no class token.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from compressor import options
from compressor.methods.base import VisionMethod
from compressor.methods.selection import argsort_desc
from compressor.methods.similarity import nan_to_zero, normalize_rows
from compressor.tokens import ImageTokens

Metric = Literal["keys", "features"]


def match(metric: Tensor, r: int, class_token: bool = False) -> Tensor:
    """Bipartite soft matching: the r even-indexed tokens most similar to an odd-indexed one merge into it.

    Args:
        metric: vectors whose cosine is the similarity, (t, d).
        r: tokens to merge, at most half of those that may.
        class_token: the first token is never merged into another, and the rest stays in raster order.
    Returns:
        (t,), the place of every token afterwards: the even ones left, most similar first, then the odd ones.
    """
    t = len(metric)
    r = max(0, min(r, (t - int(class_token)) // 2))
    unit = normalize_rows(metric)
    similarity = unit[::2] @ unit[1::2].T  # (even, odd)
    if class_token:
        similarity[0] = -torch.inf
    best, partner = similarity.max(-1)
    order = argsort_desc(best)
    merged, left = order[:r], order[r:]
    if class_token:
        left = left.sort().values
    places = torch.empty(t, dtype=torch.long, device=metric.device)
    odd = len(left) + torch.arange(t // 2, device=metric.device)
    even = torch.empty(len(order), dtype=torch.long, device=metric.device)
    even[left] = torch.arange(len(left), device=metric.device)
    even[merged] = odd[partner[merged]]
    places[::2], places[1::2] = even, odd
    return places


def tome_weights(metric: Tensor, budget: int) -> Tensor:
    """P (m, n) of ToMe repeated to exactly m tokens: every row averages the tokens of one group.

    Each round halves at most; the metric is averaged along with the tokens it stands for, weighted by size.

    Args:
        metric: features or keys, (n, d).
        budget: m, from 1 to n.
    Returns:
        (m, n) in metric's dtype, float32 at least; rows in the published order, which scrambles the raster.
    """
    metric = nan_to_zero(metric)
    group = torch.arange(len(metric), device=metric.device)  # of each of the n tokens
    size = metric.new_ones(len(metric))
    while len(metric) > budget:
        merged = min(len(metric) - budget, len(metric) // 2)
        places = match(metric, merged)
        group, count = places[group], len(metric) - merged
        total = size.new_zeros(count).index_add(0, places, size)
        summed = metric.new_zeros(count, metric.shape[1]).index_add(0, places, metric * size[:, None])
        metric, size = summed / total[:, None], total
    rows = torch.arange(len(metric), device=metric.device)
    return (rows[:, None] == group).to(metric.dtype) / size[:, None]


def in_raster_order(weights: Tensor, places: Tensor | None = None) -> Tensor:
    """The rows of P sorted by the mean place of the tokens that they read, (m, n).

    Args:
        weights: P, (m, n).
        places: of the n tokens, (n,); their order where None.
    """
    if places is None:
        places = torch.arange(weights.shape[1], device=weights.device)
    places = places.to(weights.dtype)
    return weights[(weights @ places / weights.sum(1)).sort(stable=True).indices]


class ToMe(VisionMethod):
    """Merging of similar tokens to exactly m, re-sorted to raster order, as a language model reads them.

    Tokens of different views never merge.

    Args:
        metric: "keys" compares the mean over heads of the encoder layer's keys, as the paper does inside a
            ViT; "features" the features themselves.
    Raises:
        InvalidOptionError: it is neither.
    """

    name = "tome"
    title = "ToMe"
    description = (
        "Averages the patches that look most alike, until m groups are left. "
        "It sees the image, never the question."
    )
    needs = frozenset({"keys"})

    def __init__(self, metric: Metric = "keys") -> None:
        self.metric = options.choice("metric of ToMe", metric, get_args(Metric))
        if metric == "features":
            self.needs = frozenset()

    def view_weights(self, view: ImageTokens, budget: int) -> Tensor:
        """Rows that average a group each and sum to 1."""
        metric = view.features if self.metric == "features" else view.require("keys")[1:].mean(1)
        return in_raster_order(tome_weights(metric, budget))

    def join(self, blocks: Sequence[Tensor], order: Tensor) -> Tensor:
        """As the base class does, re-sorted across the views."""
        return in_raster_order(super().join(blocks, order), order)
