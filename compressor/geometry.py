"""Token index <-> rectangle in the original image: pure arithmetic on sizes, no pixels and no model.

Rectangles are (x0, y0, x1, y1) in pixels of the uploaded image, the origin at its top left.
"""

from dataclasses import dataclass, replace

import numpy as np

from compressor.errors import ModelMismatchError

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
