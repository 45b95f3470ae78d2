"""What the layouts of all families are made of: grids of patches, their separators, their tiles."""

from dataclasses import replace

import numpy as np

from compressor.geometry.layout import PATCH, ROW_SEPARATOR, TokenGrid, TokenLayout


def patch_grid(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> TokenLayout:
    """A grid of patches in raster order.

    Args:
        x: edges of the columns in pixels, (columns + 1,).
        y: edges of the rows in pixels, (rows + 1,).
        size: (W, H) of the image in pixels.
    """
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


def with_row_separators(layout: TokenLayout) -> TokenLayout:
    """A grid of patches, each row of which ends with a separator.

    Args:
        layout: one grid of patches, or no token at all.
    """
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


def cut_into_tiles(
    whole: TokenLayout, x: np.ndarray, y: np.ndarray, size: tuple[int, int]
) -> tuple[list[TokenLayout], np.ndarray]:
    """A view of the whole image and those of its tiles, and the places of their tokens in reading order.

    Args:
        whole: as large as a tile.
        x: edges of the columns of all tiles together, in pixels of the image.
        y: edges of the rows of all tiles together, in pixels of the image.
        size: (W, H) of the image in pixels.
    """
    side, columns = whole.grids[0].rows, len(x) - 1
    views, places = [whole], [np.arange(side * side)]
    for top in range(0, len(y) - 1, side):
        for left in range(0, columns, side):
            views.append(patch_grid(x[left : left + side + 1], y[top : top + side + 1], size))
            cells = TokenGrid(side * side + top * columns + left, side, side, columns)
            places.append(cells.indices().reshape(-1))
    return views, np.concatenate(places)


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut boxes at the borders of an image, (n, 4); those without area left become NaN.

    Args:
        boxes: (n, 4) in pixels.
        size: (W, H) of the image in pixels.
    """
    width, height = size
    clipped = np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=float))
    empty = (clipped[:, 2] - clipped[:, 0] <= 0) | (clipped[:, 3] - clipped[:, 1] <= 0)
    clipped[empty] = np.nan
    return clipped
