"""The right column: the session's own P as an overlay on the picture and as a heat map."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from app.failures import as_user_error
from app.figures.heatmap import Scale, caption, heatmap
from app.figures.overlay import Colouring, overlay
from app.figures.views import View, patches_of, view_patches
from app.user_session import UserSession
from compressor import Projection
from compressor.geometry import CLASS, PART_SEPARATOR, PATCH, ROW_SEPARATOR

if TYPE_CHECKING:
    import plotly.graph_objects as go

EMPTY = '<p class="empty">Choose a picture to see its projection here.</p>'
_WORDS = {
    "kept": "Kept: provides at least half of a reduced token's weight",
    "merged": "Merged: contributes less than half; darker means less",
    "pruned": "Pruned: contributes nothing",
}
_PLACES: dict[View, str] = {"whole": "the view of the whole image", "tiles": "the tiles"}


@dataclass(frozen=True)
class PatchesView:
    """The overlay and its legend; `overlay` is None while there is no picture, or no P yet.

    `tiled` says that the overlay is of one of several views; `version` is that of P and of how it is drawn.
    """

    overlay: Image.Image | None
    legend: str
    tiled: bool
    version: str


@dataclass(frozen=True)
class MatrixView:
    """The heat map and the line under it; `figure` is None as `PatchesView.overlay` is."""

    figure: go.Figure | None
    caption: str
    version: str


def patches(user: UserSession, colouring: Colouring = "roles", shown: View = "whole") -> PatchesView:
    """Draws the projection that the chat's answers are computed from on the picture.

    Args:
        user: the session.
        colouring: "roles" or "retention".
        shown: what the overlay is of, "whole" or "tiles"; images without tiles have only the former.
    """
    with user.lock:
        version = patches_version(user, colouring, shown)
        try:
            if user.chat is not None and user.image is not None:
                projection = user.chat.projection
                drawn = overlay(projection, user.image, colouring, shown)
                legend = _roles_legend(projection, shown) if colouring == "roles" else _retention_legend()
                return PatchesView(drawn, legend, len(projection.layout.grids) > 1, version)
        except Exception as error:  # noqa: BLE001 - logged; the rest is shown, and `matrix` shows the sentence
            as_user_error(error)
        return PatchesView(None, "", False, version)


def matrix(user: UserSession, layout: str = "paper", scale: Scale = "sqrt") -> MatrixView:
    """Draws the projection that the chat's answers are computed from as a heat map.

    Args:
        user: the session.
        layout: "paper" (n x m) or "stored" (m x n).
        scale: "sqrt", "row" or "linear".
    """
    with user.lock:
        version = matrix_version(user, layout, scale)
        if user.chat is None:
            return MatrixView(None, EMPTY, version)
        try:
            projection = user.chat.projection
            figure = heatmap(projection, as_stored=layout == "stored", scale=scale)
            return MatrixView(figure, f'<p class="fine">{caption(projection)}</p>', version)
        except Exception as error:  # noqa: BLE001 - logged, unless the first question is still to decide P
            return MatrixView(None, f'<p class="empty">{as_user_error(error)}</p>', version)


def patches_version(user: UserSession, colouring: str, shown: View) -> str:
    """What `patches` calls its view."""
    return f"{user.versions['projection']} {colouring} {shown}"


def matrix_version(user: UserSession, layout: str, scale: str) -> str:
    """What `matrix` calls its view."""
    return f"{user.versions['projection']} {layout} {scale}"


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
            shares = ", ".join(f"{counts[role]} {role}" for role in _WORDS if counts[role])
            lines.append(f"{name}, outside of the picture: {shares}.")
    return f'<p class="fine">{" ".join(lines)}</p>' if lines else ""


def _retention_legend() -> str:
    return (
        '<p class="fine">Full brightness: total weight in the top 5 % (column sum of P). '
        "Dark grey: zero. In between: square-root scale.</p>"
    )
