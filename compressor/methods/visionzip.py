"""VisionZip: the patches that [CLS] attends to stay, the others are merged into evenly spaced ones.

Source: Yang et al., "VisionZip: Longer is Better but Not Necessary" (CVPR 2025), and its published code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor import options
from compressor.errors import InvalidOptionError
from compressor.geometry import TokenLayout
from compressor.methods.base import VisionMethod
from compressor.methods.selection import argsort_desc, complement
from compressor.methods.similarity import nan_to_zero, normalize_rows
from compressor.tokens import ImageTokens


def visionzip_weights(cls_attention: Tensor, keys: Tensor, dominant: int, contextual: int) -> Tensor:
    """P over [CLS] and the patches: [CLS], the dominant patches in raster order, then the contextual tokens.

    A contextual token is its target plus the mean of the patches assigned to it, so that its row sums to 2,
    as published, or to 1 where none was assigned.

    Args:
        cls_attention: attention of [CLS] in the feature layer, softmaxed, (heads, n + 1).
        keys: of that layer, the mean over heads, (n + 1, d_k).
        dominant: tokens kept as they are, [CLS] among them.
        contextual: tokens that gather the others.
    Returns:
        (dominant + contextual, n + 1); row 0 and column 0 are [CLS].
    Raises:
        InvalidOptionError: there are not as many tokens.
    """
    total = len(keys)
    if not 1 <= dominant <= total or not 0 <= contextual <= total - dominant:
        raise InvalidOptionError(
            f"Cannot select {dominant} dominant + {contextual} contextual tokens from {total} (including "
            f"[CLS]): take 1 to {total} dominant ones, and contextual ones from the rest."
        )
    keys, scores = nan_to_zero(keys), nan_to_zero(cls_attention)[:, 1:].sum(0)
    top = argsort_desc(scores)[: dominant - 1].sort().values + 1
    kept = torch.cat([top.new_zeros(1), top])
    weights = keys.new_zeros(dominant + contextual, total)
    weights[torch.arange(dominant, device=keys.device), kept] = 1.0
    if contextual:
        weights[dominant:] = _contextual(keys, complement(total, kept), contextual)
    return weights


def _contextual(keys: Tensor, left: Tensor, count: int) -> Tensor:
    """The contextual rows (count, n + 1): targets evenly spaced in `left`, which the rest join by key."""
    spaced = torch.arange(count, device=keys.device) * max(1, len(left) // count)
    targets, sources = left[spaced], left[complement(len(left), spaced)]
    unit = normalize_rows(keys)
    rows = torch.arange(count, device=keys.device)
    weights = keys.new_zeros(count, len(keys))
    if len(sources):
        nearest = (unit[sources] @ unit[targets].T).argmax(-1)
        weights[nearest, sources] = 1.0
        weights /= weights.sum(1, keepdim=True).clamp_min(1.0)
    weights[rows, targets] = 1.0
    return weights


def contextual_share(budget: int) -> int:
    """How many of m tokens are contextual: 10 of 64, as published for 64.

    Args:
        budget: m.
    """
    return round(budget * 10 / 64)


class VisionZip(VisionMethod):
    """VisionZip at any budget, split 54 dominant to 10 contextual tokens as published for 64.

    Args:
        class_token: whether the language model is given [CLS], as published: the first of the m tokens, and
            one more column of P, before the patches. Otherwise its place goes to a patch.
        per_view: number of tokens of every view (such as 128, 64 or 32), as published for LLaVA-NeXT, and the
            rate is ignored. Otherwise the views share the m tokens of the rate.
    Raises:
        InvalidOptionError: the value of an option is of a wrong type, or `per_view` is below 1.
    """

    name = "visionzip"
    title = "VisionZip"
    description = (
        "Keeps the patches that the encoder's summary token attends to, and that token itself. "
        "The other patches are merged into a few evenly spaced ones."
    )
    needs = frozenset({"cls_attention", "keys"})

    def __init__(self, class_token: bool = True, per_view: int | None = None) -> None:
        if per_view is not None:
            per_view = options.whole_number("per_view of VisionZip", per_view, 1)
        self.class_token = options.flag("class_token of VisionZip", class_token)
        self.per_view = per_view

    def view_budgets(self, views: Sequence[ImageTokens], budget: int) -> list[int]:
        """As the base class does, unless the budget of a view is given."""
        if self.per_view is None:
            return super().view_budgets(views, budget)
        return [min(self.per_view, len(view)) for view in views]

    def view_weights(self, view: ImageTokens, budget: int) -> Tensor:
        """(m, n + 1) where [CLS] is kept, else (m, n)."""
        contextual = contextual_share(budget)
        dropped = int(not self.class_token)
        keys = view.require("keys").mean(1)
        dominant = budget - contextual + dropped
        return visionzip_weights(view.require("cls_attention"), keys, dominant, contextual)[
            dropped:, dropped:
        ]

    def view_layout(self, view: ImageTokens) -> TokenLayout:
        """The view's own, with a column for [CLS] where it is kept."""
        return view.layout.with_cls() if self.class_token else view.layout

    def join(self, blocks: Sequence[Tensor], order: Tensor) -> Tensor:
        """In the order published for LLaVA-NeXT.

        The first view comes as it is; then, of the others, the dominant patches of all in reading order, each
        [CLS], and the contextual tokens view by view.
        """
        cls = int(self.class_token)
        views = order.split([block.shape[1] - cls for block in blocks])
        group, place = [], []
        for number, (block, places) in enumerate(zip(blocks, views, strict=True)):
            # 1 dominant, 2 [CLS], 3 contextual
            kind = torch.ones(len(block), dtype=torch.long, device=order.device)
            kind[:cls], kind[len(block) - contextual_share(len(block)) :] = 2, 3
            kind *= number > 0
            group.append(kind)
            place.append(places[block[:, cls:].argmax(1)] * (kind == 1))  # a dominant row reads one patch
        by_place = torch.cat(place).sort(stable=True).indices
        return super().join(blocks, order)[by_place[torch.cat(group)[by_place].sort(stable=True).indices]]
