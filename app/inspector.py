"""The right column: the session's own P as an overlay on the picture and as a heat map."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from app.figures.heatmap import caption, heatmap
from app.figures.overlay import overlay
from app.figures.views import View, patches_of, view_patches
from app.sessions import Visit
from compressor import Projection
from compressor.errors import DecidedInDecoderError
from compressor.geometry import CLASS, PART_SEPARATOR, PATCH, ROW_SEPARATOR

if TYPE_CHECKING:
    import plotly.graph_objects as go

EMPTY = '<p class="empty">Choose a picture to see its projection here.</p>'
_WORDS = {
    "kept": "Kept: gives at least half of a reduced token",
    "merged": "Merged: gives less than half, the darker the less",
    "pruned": "Pruned: nothing of it arrives",
}
_PLACES: dict[View, str] = {"whole": "the view of the whole image", "tiles": "the tiles"}


@dataclass(frozen=True)
class InspectorView:
    """What the right column shows; `overlay` and `figure` are None while there is no picture, or no P yet.

    `tiled` says that the overlay is of one of several views; `version` is that of the visit, with how the
    projection is drawn.
    """

    overlay: Image.Image | None
    legend: str
    figure: go.Figure | None
    caption: str
    tiled: bool = False
    version: str = ""


def decision(visit: Visit) -> int:
    """A number that changes when an answer has decided P; 0 where no answer does."""
    if visit.chat is None or not visit.chat.prunes_in_decoder:
        return 0
    return id(_decided(visit)) if _decided(visit) is not None else 0


def view(
    visit: Visit,
    colouring: str = "roles",
    layout: str = "paper",
    scale: str = "sqrt",
    shown: View = "whole",
) -> InspectorView:
    """Draws the projection that the chat's answers are computed from.

    Args:
        colouring: of the overlay, "roles" or "retention".
        layout: of the heat map, "paper" (n x m) or "stored" (m x n).
        scale: of the heat map, "sqrt", "row" or "linear".
        shown: what the overlay is of, "whole" or "tiles"; images without tiles have only the former.
    """
    if visit.chat is None:
        return InspectorView(None, "", None, EMPTY)
    try:
        projection = visit.chat.projection
    except DecidedInDecoderError as error:
        return InspectorView(None, "", None, f'<p class="empty">{error}</p>')
    drawn, legend = patches(visit, colouring, shown)
    return InspectorView(
        overlay=drawn,
        legend=legend,
        figure=matrix(visit, layout, scale),
        caption=f'<p class="fine">{caption(projection)}</p>',
        tiled=len(projection.layout.grids) > 1,
    )


def patches(visit: Visit, colouring: str, shown: View) -> tuple[Image.Image | None, str]:
    """The overlay and its legend alone; arguments as of `view`."""
    projection = _decided(visit)
    if projection is None:
        return None, ""
    legend = _roles_legend(projection, shown) if colouring == "roles" else _retention_legend()
    return overlay(projection, visit.image, colouring, shown), legend


def matrix(visit: Visit, layout: str, scale: str) -> go.Figure | None:
    """The heat map alone; arguments as of `view`."""
    projection = _decided(visit)
    return None if projection is None else heatmap(projection, as_stored=layout == "stored", scale=scale)


def _decided(visit: Visit) -> Projection | None:
    """P, where there is a picture and nothing is still to be decided."""
    try:
        return None if visit.chat is None else visit.chat.projection
    except DecidedInDecoderError:
        return None


def _roles_legend(projection: Projection, shown: View) -> str:
    """The patches of the view that is drawn by role; and below, what of P is not in the drawing."""
    roles = np.array(projection.roles())
    counts = Counter(roles[patches_of(projection.layout, shown)].tolist())
    items = "".join(
        f'<li class="{role}"><i aria-hidden="true"></i><b>{counts[role]}</b> {words}</li>'
        for role, words in _WORDS.items()
    )
    return f'<ul class="legend">{items}</ul>{_not_drawn(projection, roles, shown)}'


def _not_drawn(projection: Projection, roles: np.ndarray, shown: View) -> str:
    """Which view is counted, where there are several, and the roles of the tokens that show no place."""
    layout, lines = projection.layout, []
    if len(view_patches(layout)) > 1:
        lines.append(f"Counted: the {len(patches_of(layout, shown))} patches of {_PLACES[shown]}.")
    unseen = {
        "Separators": np.isin(layout.kinds, (ROW_SEPARATOR, PART_SEPARATOR)),
        "[CLS]": layout.kinds == CLASS,
        "Padding": (layout.kinds == PATCH) & np.isnan(layout.boxes[:, 0]),
    }
    for name, tokens in unseen.items():
        if tokens.any():
            counts = Counter(roles[tokens].tolist())
            told = ", ".join(f"{counts[role]} {role}" for role in _WORDS if counts[role])
            lines.append(f"{name}, outside of the picture: {told}.")
    return f'<p class="fine">{" ".join(lines)}</p>' if lines else ""


def _retention_legend() -> str:
    return (
        '<p class="fine">As it is: as much of the patch arrives as of the top 5 % (by column sums of P). '
        "Dark and grey: nothing does. In between by the square root of the share.</p>"
    )
