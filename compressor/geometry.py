"""Token index <-> rectangle in the original image: pure arithmetic on sizes, no pixels and no model.

Rectangles are (x0, y0, x1, y1) in pixels of the uploaded image, the origin at its top left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compressor.errors import ImageError, InvalidOptionError, ModelMismatchError

PATCH, ROW_SEPARATOR, PART_SEPARATOR, CLASS = 0, 1, 2, 3


@dataclass(frozen=True)
class TokenGrid:
    """A block of tokens in raster order: the token of (row, column) is start + row * stride + column.

    Args:
        start: index of the block's first token.
        rows, columns: its extent in tokens.
        stride: distance from one row to the next in tokens; columns + 1 where a separator ends each row.
    """

    start: int
    rows: int
    columns: int
    stride: int

    def indices(self) -> np.ndarray:
        """Token index of every cell, (rows, columns) int64."""
        rows = np.arange(self.rows)[:, None] * self.stride
        return self.start + rows + np.arange(self.columns)[None, :]


@dataclass(frozen=True, eq=False)
class TokenLayout:
    """Where each of n tokens lies in the original image.

    Args:
        boxes: (n, 4) float64, clipped to the image; NaN where a token shows none of it.
        kinds: (n,) int64, PATCH, ROW_SEPARATOR, PART_SEPARATOR or CLASS ([CLS]).
        size: (W, H) of the original image in pixels.
        grids: the blocks in which the patches lie, for methods that think in rows and columns.

    Raises:
        ModelMismatchError: the arrays do not describe the same number of tokens.
    """

    boxes: np.ndarray
    kinds: np.ndarray
    size: tuple[int, int]
    grids: tuple[TokenGrid, ...]

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.kinds.shape != self.boxes.shape[:1]:
            raise ModelMismatchError(
                f"A layout needs a box and a kind per token, got {self.boxes.shape} and {self.kinds.shape}."
            )

    def __len__(self) -> int:
        return len(self.kinds)

    def with_cls(self) -> "TokenLayout":
        """The same tokens behind the encoder's [CLS], which shows no part of the image."""
        return TokenLayout(
            boxes=np.vstack([np.full((1, 4), np.nan), self.boxes]),
            kinds=np.concatenate([[CLASS], self.kinds]),
            size=self.size,
            grids=tuple(replace(grid, start=grid.start + 1) for grid in self.grids),
        )

    def without_separators(self) -> "TokenLayout":
        """The patches alone, in the same order."""
        patch = self.kinds == PATCH
        place = np.cumsum(patch) - 1
        return TokenLayout(
            boxes=self.boxes[patch],
            kinds=self.kinds[patch],
            size=self.size,
            grids=tuple(
                replace(grid, start=int(place[grid.start]), stride=grid.columns) for grid in self.grids
            ),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenLayout):
            return NotImplemented
        return (
            self.size == other.size
            and self.grids == other.grids
            and np.array_equal(self.kinds, other.kinds)
            and np.array_equal(self.boxes, other.boxes, equal_nan=True)
        )

    __hash__ = None  # arrays inside: compared, never a key


def join_layouts(layouts: Sequence[TokenLayout]) -> TokenLayout:
    """One layout of the tokens of several views of an image, view after view."""
    starts = np.cumsum([0, *(len(layout) for layout in layouts)])
    return TokenLayout(
        boxes=np.vstack([layout.boxes for layout in layouts]),
        kinds=np.concatenate([layout.kinds for layout in layouts]),
        size=layouts[0].size,
        grids=tuple(
            replace(grid, start=grid.start + int(start))
            for layout, start in zip(layouts, starts, strict=False)
            for grid in layout.grids
        ),
    )


def llava_layout(
    size: tuple[int, int], crop: bool = False, *, image_size: int = 336, patch_size: int = 14
) -> TokenLayout:
    """Layout of the LLaVA-1.5 family: one square view of the image cut into a grid of patches.

    With padding the whole image is seen, centred in a square of its longer edge; with cropping the shorter
    edge is resized to the view, the longer one truncated to whole pixels, and the middle is cut out.

    Args:
        size: (W, H) of the image in pixels.
        crop: cut the middle out (as the checkpoint's own processor does) instead of padding.
        image_size, patch_size: edge of the view and of a patch in its pixels.
    Source: the LLaVA-1.5 image processor (resize, centre crop) and `expand2square` of its evaluation.
    """
    width, height = size
    side = image_size // patch_size
    edges = np.arange(side + 1) * float(patch_size)
    if crop:
        short = min(width, height)
        resized_w = image_size if width == short else int(image_size * width / short)
        resized_h = image_size if height == short else int(image_size * height / short)
        x = (edges + (resized_w - image_size) // 2) * width / resized_w
        y = (edges + (resized_h - image_size) // 2) * height / resized_h
    else:
        longest = max(width, height)
        x = edges * longest / image_size - (longest - width) // 2
        y = edges * longest / image_size - (longest - height) // 2
    return _patch_grid(x, y, size)


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut boxes (n, 4) at the borders of an image of size (W, H); those without area left become NaN."""
    width, height = size
    clipped = np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=float))
    empty = (clipped[:, 2] - clipped[:, 0] <= 0) | (clipped[:, 3] - clipped[:, 1] <= 0)
    clipped[empty] = np.nan
    return clipped


def _patch_grid(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> TokenLayout:
    """A grid of patches in raster order, from its edges x (columns + 1,) and y (rows + 1,) in pixels."""
    rows, columns = len(y) - 1, len(x) - 1
    boxes = np.empty((rows, columns, 4))
    boxes[..., 0], boxes[..., 2] = x[None, :-1], x[None, 1:]
    boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
    return TokenLayout(
        boxes=clip_boxes(boxes.reshape(-1, 4), size),
        kinds=np.full(rows * columns, PATCH, dtype=np.int64),
        size=(size[0], size[1]),
        grids=(TokenGrid(start=0, rows=rows, columns=columns, stride=columns),),
    )


def _with_row_separators(layout: TokenLayout) -> TokenLayout:
    """A grid of patches, each row of which ends with a separator."""
    (grid,) = layout.grids
    boxes = np.full((grid.rows, grid.columns + 1, 4), np.nan)
    boxes[:, :-1] = layout.boxes.reshape(grid.rows, grid.columns, 4)
    kinds = np.full((grid.rows, grid.columns + 1), PATCH, dtype=np.int64)
    kinds[:, -1] = ROW_SEPARATOR
    return TokenLayout(
        boxes=boxes.reshape(-1, 4),
        kinds=kinds.reshape(-1),
        size=layout.size,
        grids=(replace(grid, stride=grid.columns + 1),) if len(layout) else (),
    )


def llava_next_layout(
    size: tuple[int, int],
    pinpoints: Sequence[tuple[int, int]],
    *,
    image_size: int = 336,
    patch_size: int = 14,
) -> TokenLayout:
    """Layout of the LLaVA-NeXT family: the squashed image, then a larger one, a newline after each row.

    The larger image is the one the tiles were cut from. Its padding is cut off in whole patches, at both
    sides alike, so that a row or column that is half padding may stay or go.

    Args:
        size: (W, H) of the image in pixels.
        pinpoints: the (h, w) that the tiles together may have, in pixels of the views.
        image_size, patch_size: edge of a view and of a patch in its pixels.
    Raises:
        ImageError: the image is too thin for any of the pinpoints.
    Source: the any-resolution packing of LLaVA-NeXT ("spatial_unpad").
    """
    base, x, y = _anyres_edges(size, pinpoints, image_size, patch_size)
    top, left = _padding(size, rows=len(y) - 1, columns=len(x) - 1)
    large = _patch_grid(x[left : len(x) - left], y[top : len(y) - top], size)
    return join_layouts([base, _with_row_separators(large)])


def llava_next_tiles(
    size: tuple[int, int],
    pinpoints: Sequence[tuple[int, int]],
    *,
    image_size: int = 336,
    patch_size: int = 14,
) -> tuple[list[TokenLayout], np.ndarray]:
    """What LLaVA-NeXT's encoder is shown of an image: the squashed whole, then the tiles row by row.

    Args and Raises: as of `llava_next_layout`.
    Returns:
        the layout of each view; and the place (N,) of every patch, view after view, in reading order: the
        whole image, then the large one in raster order across its tiles, padding included.
    """
    return _cut(*_anyres_edges(size, pinpoints, image_size, patch_size), size)


def _cut(
    whole: TokenLayout, x: np.ndarray, y: np.ndarray, size: tuple[int, int]
) -> tuple[list[TokenLayout], np.ndarray]:
    """A view of the whole image and those of its tiles, and the places of their tokens in reading order.

    Args:
        whole: as large as a tile.
        x, y: edges of the columns and rows of all tiles together, in pixels of the image of size (W, H).
    """
    side, columns = whole.grids[0].rows, len(x) - 1
    views, places = [whole], [np.arange(side * side)]
    for top in range(0, len(y) - 1, side):
        for left in range(0, columns, side):
            views.append(_patch_grid(x[left : left + side + 1], y[top : top + side + 1], size))
            cells = TokenGrid(side * side + top * columns + left, side, side, columns)
            places.append(cells.indices().reshape(-1))
    return views, np.concatenate(places)


def _anyres_edges(
    size: tuple[int, int], pinpoints: Sequence[tuple[int, int]], image_size: int, patch_size: int
) -> tuple[TokenLayout, np.ndarray, np.ndarray]:
    """The squashed view, and where the columns and rows of the padded large image begin and end in the image.

    The image keeps its proportions, its edges are rounded up, and padding centres it.
    """
    width, height = size
    canvas_h, canvas_w = _best_pinpoint(size, pinpoints)
    resized_w, resized_h = canvas_w, canvas_h
    scale_w, scale_h = canvas_w / width, canvas_h / height
    if scale_w < scale_h:
        resized_h = min(math.ceil(height * scale_w), canvas_h)
    else:
        resized_w = min(math.ceil(width * scale_h), canvas_w)
    x = np.arange(0, canvas_w + 1, patch_size) - (canvas_w - resized_w) // 2
    y = np.arange(0, canvas_h + 1, patch_size) - (canvas_h - resized_h) // 2
    shares = np.arange(image_size // patch_size + 1) * patch_size / image_size
    return (
        _patch_grid(shares * width, shares * height, size),
        x * (width / resized_w),
        y * (height / resized_h),
    )


def _best_pinpoint(size: tuple[int, int], pinpoints: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The (h, w) that keeps most of the image's pixels and, among those, wastes least.

    Raises:
        ImageError: an edge of the image vanishes in all of them.
    """
    width, height = size
    kept: dict[tuple[int, int], int] = {}
    for h, w in pinpoints:
        scale = min(w / width, h / height)
        kept[h, w] = min(int(width * scale) * int(height * scale), width * height)
    best = max(kept, key=lambda shape: (kept[shape], -shape[0] * shape[1]))
    if not kept[best]:
        raise ImageError(
            f"A picture of {width} × {height} pixels is too thin for this model; cut it into pieces."
        )
    return best


def _padding(size: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Whole rows and whole columns of patches at either side that an image of size (W, H) leaves empty."""
    width, height = size
    if width / height > columns / rows:
        return (rows - int(round(height * (columns / width), 7))) // 2, 0
    return 0, (columns - int(round(width * (rows / height), 7))) // 2


def xcomposer_canvas(
    size: tuple[int, int], hd_num: int = 24, *, image_size: int = 560
) -> tuple[tuple[int, int], tuple[int, int]]:
    """How InternLM-XComposer-2.5 scales an image before it cuts it into tiles.

    The longer edge becomes a whole number of tiles, no more than hold its pixels; the other edge keeps the
    proportions and is padded to whole tiles, below a landscape picture and to the right of a portrait one.

    Args:
        size: (W, H) of the image in pixels.
        hd_num: tiles at most, at least 1.
        image_size: edge of a tile in pixels of the canvas.
    Returns:
        (W, H) of the scaled image in pixels of the canvas; (rows, columns) of tiles.
    Raises:
        InvalidOptionError: there is no room for a tile.
    Source: `Image_transform` of the published model.
    """
    if hd_num < 1:
        raise InvalidOptionError(f"An image is cut into at least one tile, not {hd_num}.")
    long, short = max(size), min(size)
    ratio, tiles = long / short, 1
    while tiles * image_size < long and (tiles + 1) * math.ceil((tiles + 1) / ratio) <= hd_num:
        tiles += 1
    scaled_long = image_size * tiles
    scaled_short = max(1, int(scaled_long / ratio))  # an endless strip keeps one row of pixels
    across = math.ceil(scaled_short / image_size)
    if size[0] < size[1]:
        return (scaled_short, scaled_long), (tiles, across)
    return (scaled_long, scaled_short), (across, tiles)


def xcomposer_layout(
    size: tuple[int, int], hd_num: int = 24, *, image_size: int = 560, patch_size: int = 14
) -> TokenLayout:
    """Layout of InternLM-XComposer-2.5: the whole canvas as one view, a separator, its tiles as one grid.

    A token is a block of 2 x 2 patches. Every row of either grid ends with a separator.

    Args:
        size: (W, H) of the image in pixels.
        hd_num: tiles at most.
        image_size, patch_size: edge of a tile and of a patch in pixels of the canvas.
    Raises:
        InvalidOptionError: as `xcomposer_canvas` does.
    """
    whole, x, y = _xcomposer_edges(size, hd_num, image_size, patch_size)
    between = TokenLayout(np.full((1, 4), np.nan), np.array([PART_SEPARATOR]), whole.size, ())
    large = _patch_grid(x, y, size)
    return join_layouts([_with_row_separators(whole), between, _with_row_separators(large)])


def xcomposer_tiles(
    size: tuple[int, int], hd_num: int = 24, *, image_size: int = 560, patch_size: int = 14
) -> tuple[list[TokenLayout], np.ndarray]:
    """What XComposer's encoder is shown of an image: the whole canvas, then its tiles row by row.

    Args and Raises: as of `xcomposer_layout`.
    Returns:
        the layout of each view; and the place (N,) of every token, view after view, in reading order: the
        whole canvas, then the large one in raster order across its tiles.
    """
    return _cut(*_xcomposer_edges(size, hd_num, image_size, patch_size), size)


def _xcomposer_edges(
    size: tuple[int, int], hd_num: int, image_size: int, patch_size: int
) -> tuple[TokenLayout, np.ndarray, np.ndarray]:
    """The view of the whole canvas, and where columns and rows of its tiles begin and end in the image."""
    scaled, (rows, columns) = xcomposer_canvas(size, hd_num, image_size=image_size)
    side = image_size // (2 * patch_size)  # tokens along a tile
    width = columns * image_size * size[0] / scaled[0]  # of the canvas, in pixels of the image
    height = rows * image_size * size[1] / scaled[1]
    shares = np.arange(side + 1) / side
    return (
        _patch_grid(shares * width, shares * height, size),
        np.arange(side * columns + 1) * width / (side * columns),
        np.arange(side * rows + 1) * height / (side * rows),
    )
