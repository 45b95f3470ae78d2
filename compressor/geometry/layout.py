"""Which token shows which rectangle of the image, and what kind of token it is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compressor.errors import ModelMismatchError

PATCH, ROW_SEPARATOR, PART_SEPARATOR, CLASS = 0, 1, 2, 3


@dataclass(frozen=True)
class TokenGrid:
    """A block of tokens in raster order: the token of (row, column) is start + row * stride + column.

    Args:
        start: index of the block's first token.
        rows: its height in tokens.
        columns: its width in tokens.
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
    """Where each of n tokens lies in the original image; it can be compared, but is no key of a dictionary.

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


def join_layouts(layouts: Sequence[TokenLayout]) -> TokenLayout:
    """One layout of the tokens of several views of an image, view after view.

    Args:
        layouts: of the views.
    """
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
