"""The right column: the session's own P as an overlay on the picture and as a heat map."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from app.figures.heatmap import caption, heatmap
from app.figures.overlay import overlay
from app.sessions import Visit
from compressor import Projection
from compressor.errors import DecidedInDecoderError

if TYPE_CHECKING:
    import plotly.graph_objects as go

EMPTY = '<p class="empty">Choose a picture to see its projection here.</p>'
_WORDS = {
    "kept": "Kept: gives at least half of a reduced token",
    "merged": "Merged: gives less than half, the darker the less",
    "pruned": "Pruned: nothing of it arrives",
}


@dataclass(frozen=True)
class InspectorView:
    """What the right column shows; `overlay` and `figure` are None while there is no picture, or no P yet."""

    overlay: Image.Image | None
    legend: str
    figure: go.Figure | None
    caption: str


def decision(visit: Visit) -> int:
    """A number that changes when an answer has decided P; 0 where no answer does."""
    if visit.chat is None or not visit.chat.prunes_in_decoder:
        return 0
    try:
        return id(visit.chat.projection)
    except DecidedInDecoderError:
        return 0


def view(visit: Visit, colouring: str = "roles", layout: str = "paper", scale: str = "sqrt") -> InspectorView:
    """Draws the projection that the chat's answers are computed from.

    Args:
        colouring: of the overlay, "roles" or "retention".
        layout: of the heat map, "paper" (n x m) or "stored" (m x n).
        scale: of the heat map, "sqrt", "row" or "linear".
    """
    if visit.chat is None:
        return InspectorView(None, "", None, EMPTY)
    try:
        projection = visit.chat.projection
    except DecidedInDecoderError as error:
        return InspectorView(None, "", None, f'<p class="empty">{error}</p>')
    return InspectorView(
        overlay=overlay(projection, visit.image, colouring),
        legend=_roles_legend(projection) if colouring == "roles" else _retention_legend(),
        figure=heatmap(projection, as_stored=layout == "stored", scale=scale),
        caption=f'<p class="fine">{caption(projection)}</p>',
    )


def _roles_legend(projection: Projection) -> str:
    counts = Counter(projection.roles())
    items = "".join(
        f'<li class="{role}"><i aria-hidden="true"></i><b>{counts[role]}</b> {words}</li>'
        for role, words in _WORDS.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _retention_legend() -> str:
    return (
        '<p class="fine">As it is: as much of the patch arrives as of the top 5 % (by column sums of P). '
        "Dark and grey: nothing does. In between by the square root of the share.</p>"
    )
