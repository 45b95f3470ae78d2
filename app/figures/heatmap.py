"""The matrix P as a Plotly heat map whose payload stays small.

A figure travels to the browser as JSON, so P is cut to at most `MAX_CELLS` cells of one byte each: a cell
stands for a block of P and shows its largest entry (a mean would erase the single entries of a method that
prunes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.figures.views import view_patches
from compressor import Projection, TokenLayout
from compressor.geometry import CLASS, PART_SEPARATOR, ROW_SEPARATOR

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_CELLS = 150_000
Scale = Literal["sqrt", "row", "linear"]
SCALES: dict[Scale, str] = {
    "sqrt": "square root",
    "row": "per reduced token",
    "linear": "linear",
}
# One direction from white to the dark end of cividis: the more weight the darker, also in print and in grey.
COLOURS = [[0.0, "#ffffff"], [0.25, "#c3ccd9"], [0.5, "#7f91ad"], [0.75, "#3c557e"], [1.0, "#00224e"]]
_BORDER = "#d55e00"  # between the grids of an image in tiles
_TICK = "#7b8494"  # readable on the light and on the dark page; style sheets may sharpen it


@dataclass(frozen=True)
class Cells:
    """What the heat map draws: `shade` (rows, columns) uint8 in percent of the peak, and the block sizes.

    `step` is the number of (reduced tokens, image tokens) that one cell spans, in the order of P's axes.
    """

    shade: np.ndarray
    peak: float
    step: tuple[int, int]


def block_shape(m: int, n: int, max_cells: int = MAX_CELLS) -> tuple[int, int]:
    """(rows, columns) of the blocks of P (m, n) that are just large enough for `max_cells` cells."""
    rows = columns = 1
    while -(-m // rows) * -(-n // columns) > max_cells:
        if m // rows > n // columns:
            rows += 1
        else:
            columns += 1
    return rows, columns


def pool_blocks(weights: Tensor, block: tuple[int, int]) -> np.ndarray:
    """Largest entry of each block of `weights` (m, n); the last block of an axis may be cut."""
    return functional.max_pool2d(weights[None, None], block, ceil_mode=True)[0, 0].numpy()


def cells(projection: Projection, scale: Scale = "sqrt", max_cells: int = MAX_CELLS) -> Cells:
    """The shades of P (m, n): "sqrt" and "linear" against its largest entry, "row" against each row's."""
    weights = projection.weights.detach().cpu()  # (m, n)
    peak, smallest = float(weights.max()), torch.finfo(torch.float32).tiny
    if scale == "row":
        weights = weights / weights.amax(1, keepdim=True).clamp_min(smallest)
    step = block_shape(projection.m, projection.n, max_cells)
    share = pool_blocks(weights, step)
    if scale != "row":
        share = share / max(peak, smallest)
    if scale == "sqrt":
        share = np.sqrt(share)
    return Cells(np.rint(share * 100).astype(np.uint8), peak, step)


def heatmap(
    projection: Projection, *, as_stored: bool = False, scale: Scale = "sqrt", height: int = 380
) -> go.Figure:
    """Draws P as the paper's figures 6 and 7 do: image tokens downwards, reduced tokens to the right.

    Args:
        projection: P (m, n).
        as_stored: draw P itself, m rows by n columns, instead of its transpose.
        scale: how weight becomes darkness.
        height: of the figure, in pixels.
    """
    import plotly.graph_objects as go  # a fifth of a second, and only whoever looks at P needs it

    m, n = projection.m, projection.n
    drawn = cells(projection, scale)
    z, (dy, dx), (rows, columns) = drawn.shade, drawn.step, (m, n)
    y_title, x_title = "reduced token", "image token"
    if not as_stored:
        z, (dy, dx), (rows, columns) = np.ascontiguousarray(z.T), (dx, dy), (n, m)
        y_title, x_title = x_title, y_title
    hover = f"{y_title} %{{y}}<br>{x_title} %{{x}}<br>%{{z}} % on the scale<extra></extra>"
    trace = go.Heatmap(
        z=z,
        x0=(dx - 1) / 2,
        dx=dx,
        y0=(dy - 1) / 2,
        dy=dy,
        zmin=0,
        zmax=100,
        colorscale=COLOURS,
        colorbar=_colorbar(drawn.peak, scale),
        hovertemplate=hover,
    )
    figure = go.Figure(trace)
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 52, "r": 8, "t": 10, "b": 44},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="#ffffff",  # "the darker the more" holds on a light ground only, in both themes
        font={"family": "system-ui, sans-serif", "size": 12, "color": _TICK},
        xaxis=_axis(f"{x_title} (0 to {columns - 1})", [-0.5, columns - 0.5]),
        yaxis=_axis(f"{y_title} (0 to {rows - 1})", [rows - 0.5, -0.5]),
        shapes=_borders(projection.layout, "x" if as_stored else "y"),
    )
    return figure


def _borders(layout: TokenLayout, axis: Literal["x", "y"]) -> list[dict]:
    """Dashed lines across P where the second and each further grid of image tokens begins."""
    across = "y" if axis == "x" else "x"
    line = {"type": "line", "line": {"color": _BORDER, "width": 1, "dash": "dash"}}
    whole = {f"{across}ref": "paper", f"{across}0": 0, f"{across}1": 1}
    places = [grid.start - 0.5 for grid in layout.grids[1:]]
    return [{**line, **whole, f"{axis}0": place, f"{axis}1": place} for place in places]


def _axis(title: str, span: list[float]) -> dict:
    ticks = {"ticks": "outside", "ticklen": 4, "nticks": 7, "color": _TICK}
    text = {"text": title, "font": {"size": 12}}
    return {**ticks, "title": text, "range": span, "showgrid": False, "zeroline": False}


def _colorbar(peak: float, scale: Scale) -> dict:
    """A bar whose ticks are weights (or shares, for "row") at the places the scale puts them."""
    shares = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # of the bar's length
    if scale == "row":
        text = [f"{share:.0%}" for share in shares]
    else:
        text = [f"{peak * (share**2 if scale == 'sqrt' else share):.2g}" for share in shares]
    title = {"sqrt": "weight<br>(√ scale)", "row": "% of the<br>token's max", "linear": "weight"}[scale]
    return {
        "tickvals": (shares * 100).tolist(),
        "ticktext": text,
        "title": {"text": title, "font": {"size": 11}},
        "thickness": 10,
        "len": 1.0,
        "outlinewidth": 0,
        "tickfont": {"size": 11},
    }


def caption(projection: Projection) -> str:
    """The numbers of P in words: size, share of near-zeros, peak, mixing, and pooling where there was any."""
    weights = projection.weights.detach()
    rows, columns = block_shape(projection.m, projection.n)
    nothing = int((weights < 1e-6).sum()) / weights.numel()
    mixed = float(projection.entropy().mean().exp())  # perplexity of a row
    text = (
        f"P is {projection.m} × {projection.n}. {nothing:.0%} of its entries are below 1e-6, "
        f"the largest is {weights.max():.2g}, and a reduced token mixes about {mixed:.1f} image tokens."
    )
    summaries = np.flatnonzero(projection.layout.kinds == CLASS)
    if len(summaries) == 1:
        text += f" Image token {summaries[0]} is the encoder's [CLS], which shows no patch."
    elif len(summaries):
        text += f" Each of the {len(summaries)} views begins with its [CLS], which shows no patch."
    text += _parts(projection.layout)
    if rows * columns > 1:
        text += f" Each cell is the largest of {rows} × {columns} entries."
    return text


def _parts(layout: TokenLayout) -> str:
    """Where the views of an image in tiles lie among the tokens, and how many separators there are."""
    text = ""
    if len(layout.grids) > 1:
        views = view_patches(layout)
        whole, tiles = (f"{views[view].min()} to {views[view].max()}" for view in ("whole", "tiles"))
        text += (
            f" Image tokens {whole} show the whole image, {tiles} its tiles; a dashed line begins each grid."
        )
    rows, between = (int((layout.kinds == kind).sum()) for kind in (ROW_SEPARATOR, PART_SEPARATOR))
    if rows:
        text += f" {rows} tokens are separators that end a row of patches."
    if between:
        text += f" {between} part{'s' if between == 1 else ''} the whole image from its tiles."
    return text
