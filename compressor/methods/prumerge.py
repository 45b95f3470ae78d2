"""PruMerge and PruMerge+: patches that [CLS] attends to stay, and merge with the patches similar to them.

Source: Shang et al., "LLaVA-PruMerge" (2024), and its published code, whose rows are not normalised: a kept
patch has weight 1, and its neighbours the attention that [CLS] pays them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor import options
from compressor.errors import InvalidOptionError
from compressor.methods.base import VisionMethod
from compressor.methods.selection import argsort_desc, complement
from compressor.methods.similarity import nan_to_zero, normalize_rows
from compressor.tokens import ImageTokens

NEIGHBOURS = 32


def class_attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Attention of [CLS] to the n patches, (n,), as one head over the full width; its own share is left out.

    Args:
        queries: raw output of the last layer's query projection, (n + 1, C), [CLS] first.
        keys: raw output of its key projection, (n + 1, C).
    """
    queries, keys = nan_to_zero(queries), nan_to_zero(keys)
    scores = queries[0] @ keys.T * queries.shape[1] ** -0.5
    return nan_to_zero(scores.softmax(-1))[1:]  # products of very large numbers overflow


def outlier_ratio(attention: Tensor) -> float:
    """Share of the patches whose attention lies above Q3 + 1.5 (Q3 - Q1).

    Args:
        attention: of [CLS] to the n patches, (n,).
    """
    attention = attention.float()
    q1, q3 = torch.quantile(attention, torch.tensor([0.25, 0.75], device=attention.device))
    return int((attention > q3 + 1.5 * (q3 - q1)).sum()) / len(attention)


def prumerge_weights(queries: Tensor, keys: Tensor, budget: int | None = None) -> Tensor:
    """P (m, n) of PruMerge: a row for each kept patch, by falling attention, and one for all the others.

    Args:
        queries: of the last encoder layer, (n + 1, C), [CLS] first.
        keys: of the same layer, (n + 1, C).
        budget: m; None keeps the outliers of the attention, as published, and lets m follow.
    Raises:
        InvalidOptionError: there are not enough patches to have 32 neighbours each.
    """
    attention = class_attention(queries, keys)
    count = round(len(attention) * outlier_ratio(attention)) if budget is None else budget - 1
    return _merged(attention, keys, argsort_desc(attention)[:count])


def prumerge_plus_weights(
    queries: Tensor, keys: Tensor, budget: int | None = None, ratio: float | None = None
) -> Tensor:
    """P (m, n) of PruMerge+: besides the strongest patches, equidistant ones stay.

    Three rules choose them. With neither option it is the published adaptive one: the outliers, and every
    stride-th of the patches before the last (the published range leaves the last one out). With `ratio` it is
    the published fixed one, but a patch chosen twice is one row: the published code repeats it and drops as
    many of the others. With `budget` it is our own, for comparisons at an exact m: a quarter of the m - 1
    kept patches (the share of the adaptive rule) by attention, the others equidistant among what is left.

    Args:
        queries: of the last encoder layer, (n + 1, C), [CLS] first.
        keys: of the same layer, (n + 1, C).
        budget: m.
        ratio: r of the published fixed mode.
    Raises:
        InvalidOptionError: too few patches, or a ratio at which the published rule has no stride.
    """
    attention = class_attention(queries, keys)
    order, n = argsort_desc(attention), len(attention)
    if budget is not None:
        top = order[: max(1, round((budget - 1) / 4)) if budget > 1 else 0]
        left = complement(n, top)
        count = budget - 1 - len(top)
        places = torch.arange(count, device=left.device)
        spread = left[(2 * places + 1) * len(left) // (2 * count)] if count else left[:0]
        return _merged(attention, keys, torch.cat([top, spread]))
    share = outlier_ratio(attention) if ratio is None else ratio
    if not 0 < share <= 1 / 3:
        raise InvalidOptionError(
            f"PruMerge+ has no stride for a share of {share:.3f} strongest patches; "
            "it needs one above 0 and at most 1/3: set an exact budget instead."
        )
    count = round(n * share) if ratio is None else int(n * share)  # outliers are a whole number already
    top, step = order[:count], int(1 / share)
    first, stride = (0, step // 3) if ratio is None else (step // 2, step)
    spread = torch.arange(first, n - 1, stride, device=top.device)
    return _merged(attention, keys, torch.cat([top, spread[~torch.isin(spread, top)]]))


def _merged(attention: Tensor, keys: Tensor, kept: Tensor) -> Tensor:
    """P: each kept patch with weight 1 and its 32 nearest neighbours by key with their attention.

    The last row has all patches that were not kept.
    """
    n = len(attention)
    if n <= NEIGHBOURS:
        raise InvalidOptionError(
            f"PruMerge merges each kept patch with its {NEIGHBOURS} nearest, so an image needs at least "
            f"{NEIGHBOURS + 1} patches, not {n}; choose another method."
        )
    unit = normalize_rows(keys[1:])
    similarity = unit[kept] @ unit.T  # (m - 1, n)
    rows = torch.arange(len(kept), device=kept.device)
    similarity[rows, kept] = -torch.inf
    near = similarity.sort(descending=True, stable=True).indices[:, :NEIGHBOURS]
    weights = attention.new_zeros(len(kept) + 1, n)
    weights[rows[:, None], near] = attention[near]
    weights[rows, kept] = 1.0
    left = complement(n, kept)
    weights[-1, left] = attention[left]
    return weights


class _Merging(VisionMethod):
    """The base of PruMerge and PruMerge+; where an image decides m, every view decides its own."""

    needs = frozenset({"queries"})
    adaptive: bool  # whether a published rule decides m instead of the budget

    def view_budgets(self, views: Sequence[ImageTokens], budget: int) -> list[int]:
        """As the base class does; a budget that is not followed is given to every view in full."""
        return [len(view) for view in views] if self.adaptive else super().view_budgets(views, budget)


class PruMerge(_Merging):
    """PruMerge at an exact budget, which is the published method with its own number of tokens replaced.

    Args:
        adaptive: whether the image's attention decides m, as published, and the rate is ignored.
    Raises:
        InvalidOptionError: `adaptive` is neither True nor False.
    """

    name = "prumerge"
    title = "PruMerge"
    description = (
        "Keeps the patches that the encoder's summary token attends to, each with the patches similar to it. "
        "One more token gathers all the rest."
    )

    def __init__(self, adaptive: bool = False) -> None:
        self.adaptive = options.flag("adaptive of PruMerge", adaptive)

    def view_weights(self, view: ImageTokens, budget: int) -> Tensor:
        """Unnormalised rows, by falling attention; the last gathers what was not kept."""
        queries, keys = view.require("last_queries"), view.require("last_keys")
        return prumerge_weights(queries, keys, None if self.adaptive else budget)


class PruMergePlus(_Merging):
    """PruMerge+ at an exact budget (our rule), or by one of the two published rules.

    Args:
        adaptive: as published for inference: the image decides m, and the rate is ignored.
        ratio: as published for training: r, and the rate is ignored.
    Raises:
        InvalidOptionError: both rules are given, or the value of one is of a wrong type or out of range.
    """

    name = "prumerge+"
    title = "PruMerge+"
    description = (
        "Like PruMerge, and keeps patches at equal distances too, so that no part of the image goes unseen. "
        "A quarter is chosen by attention, the others by place."
    )

    def __init__(self, adaptive: bool = False, ratio: float | None = None) -> None:
        options.flag("adaptive of PruMerge+", adaptive)
        if ratio is not None:
            options.number("ratio of PruMerge+", ratio, 0, 1 / 3, above=True)
        if adaptive and ratio is not None:
            raise InvalidOptionError("PruMerge+ follows one rule: give either adaptive or ratio.")
        self.adaptive, self.ratio = adaptive or ratio is not None, ratio

    def view_weights(self, view: ImageTokens, budget: int) -> Tensor:
        """Unnormalised rows: the strongest, the equidistant ones, and one that gathers the others."""
        queries, keys = view.require("last_queries"), view.require("last_keys")
        return prumerge_plus_weights(queries, keys, None if self.adaptive else budget, self.ratio)
