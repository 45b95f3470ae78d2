"""InternLM-XComposer-2.5: the image padded to whole tiles, read once as one view and once tile by tile."""

import math

import numpy as np

from compressor.errors import InvalidOptionError
from compressor.geometry.grids import cut_into_tiles, patch_grid, with_row_separators
from compressor.geometry.layout import PART_SEPARATOR, TokenLayout, join_layouts


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
        image_size: edge of a tile in pixels of the canvas.
        patch_size: edge of a patch in pixels of the canvas.
    Raises:
        InvalidOptionError: as `xcomposer_canvas` does.
    """
    whole, x, y = _xcomposer_edges(size, hd_num, image_size, patch_size)
    between = TokenLayout(np.full((1, 4), np.nan), np.array([PART_SEPARATOR]), whole.size, ())
    large = patch_grid(x, y, size)
    return join_layouts([with_row_separators(whole), between, with_row_separators(large)])


def xcomposer_tiles(
    size: tuple[int, int], hd_num: int = 24, *, image_size: int = 560, patch_size: int = 14
) -> tuple[list[TokenLayout], np.ndarray]:
    """What XComposer's encoder is given of an image: the whole canvas, then its tiles row by row.

    Args:
        size: (W, H) of the image in pixels.
        hd_num: tiles at most.
        image_size: edge of a tile in pixels of the canvas.
        patch_size: edge of a patch in pixels of the canvas.
    Raises:
        InvalidOptionError: as `xcomposer_canvas` does.
    Returns:
        the layout of each view; and the place (N,) of every token, view after view, in reading order: the
        whole canvas, then the large one in raster order across its tiles.
    """
    return cut_into_tiles(*_xcomposer_edges(size, hd_num, image_size, patch_size), size)


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
        patch_grid(shares * width, shares * height, size),
        np.arange(side * columns + 1) * width / (side * columns),
        np.arange(side * rows + 1) * height / (side * rows),
    )
