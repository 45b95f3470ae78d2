"""Token index <-> rectangle in the original image: pure arithmetic on sizes, no pixels and no model.

Rectangles are (x0, y0, x1, y1) in pixels of the uploaded image, the origin at its top left.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from compressor.errors import InvalidOptionError, ModelMismatchError

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
    boxes = np.empty((side, side, 4))
    boxes[..., 0], boxes[..., 2] = x[None, :-1], x[None, 1:]
    boxes[..., 1], boxes[..., 3] = y[:-1, None], y[1:, None]
    return TokenLayout(
        boxes=clip_boxes(boxes.reshape(-1, 4), size),
        kinds=np.full(side * side, PATCH, dtype=np.int64),
        size=(width, height),
        grids=(TokenGrid(start=0, rows=side, columns=side, stride=side),),
    )


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut boxes (n, 4) at the borders of an image of size (W, H); those without area left become NaN."""
    width, height = size
    clipped = np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=float))
    empty = (clipped[:, 2] - clipped[:, 0] <= 0) | (clipped[:, 3] - clipped[:, 1] <= 0)
    clipped[empty] = np.nan
    return clipped


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
    scaled, (rows, columns) = xcomposer_canvas(size, hd_num, image_size=image_size)
    side = image_size // (2 * patch_size)  # tokens along a tile
    width = columns * image_size * size[0] / scaled[0]  # of the canvas, in pixels of the image
    height = rows * image_size * size[1] / scaled[1]
    whole = TokenGrid(0, side, side, side + 1)
    tiles = TokenGrid(side * (side + 1) + 1, side * rows, side * columns, side * columns + 1)
    n = tiles.start + tiles.rows * tiles.stride
    boxes, kinds = np.full((n, 4), np.nan), np.full(n, ROW_SEPARATOR, dtype=np.int64)
    kinds[tiles.start - 1] = PART_SEPARATOR
    for grid in (whole, tiles):
        cells = grid.indices()
        x = np.arange(grid.columns + 1) * width / grid.columns
        y = np.arange(grid.rows + 1) * height / grid.rows
        boxes[cells, 0], boxes[cells, 2] = x[:-1], x[1:]
        boxes[cells, 1], boxes[cells, 3] = y[:-1, None], y[1:, None]
        kinds[cells] = PATCH
    return TokenLayout(clip_boxes(boxes, size), kinds, tuple(size), (whole, tiles))
