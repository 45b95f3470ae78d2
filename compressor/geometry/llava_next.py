"""The LLaVA-NeXT family: the squashed image, and tiles of a larger one whose shape fits the image best."""

import math
from collections.abc import Sequence

import numpy as np

from compressor.errors import ImageError
from compressor.geometry.grids import cut_into_tiles, patch_grid, with_row_separators
from compressor.geometry.layout import TokenLayout, join_layouts


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
        image_size: edge of a view in its pixels.
        patch_size: edge of a patch in pixels of a view.
    Raises:
        ImageError: the image is too thin for any of the pinpoints.
    Source: the any-resolution packing of LLaVA-NeXT ("spatial_unpad").
    """
    base, x, y = _anyres_edges(size, pinpoints, image_size, patch_size)
    top, left = _padding(size, rows=len(y) - 1, columns=len(x) - 1)
    large = patch_grid(x[left : len(x) - left], y[top : len(y) - top], size)
    return join_layouts([base, with_row_separators(large)])


def llava_next_tiles(
    size: tuple[int, int],
    pinpoints: Sequence[tuple[int, int]],
    *,
    image_size: int = 336,
    patch_size: int = 14,
) -> tuple[list[TokenLayout], np.ndarray]:
    """What LLaVA-NeXT's encoder is given of an image: the squashed whole, then the tiles row by row.

    Args:
        size: (W, H) of the image in pixels.
        pinpoints: the (h, w) that the tiles together may have, in pixels of the views.
        image_size: edge of a view in its pixels.
        patch_size: edge of a patch in pixels of a view.
    Raises:
        ImageError: the image is too thin for any of the pinpoints.
    Returns:
        the layout of each view; and the place (N,) of every patch, view after view, in reading order: the
        whole image, then the large one in raster order across its tiles, padding included.
    """
    return cut_into_tiles(*_anyres_edges(size, pinpoints, image_size, patch_size), size)


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
        patch_grid(shares * width, shares * height, size),
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
