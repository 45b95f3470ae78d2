"""Token index <-> rectangle in the original image: pure arithmetic on sizes, no pixels and no model.

Rectangles are (x0, y0, x1, y1) in pixels of the uploaded image, the origin at its top left.
"""

from compressor.geometry.layout import (
    CLASS,
    PART_SEPARATOR,
    PATCH,
    ROW_SEPARATOR,
    TokenGrid,
    TokenLayout,
    join_layouts,
)
from compressor.geometry.llava import llava_layout
from compressor.geometry.llava_next import llava_next_layout, llava_next_tiles
from compressor.geometry.xcomposer import xcomposer_canvas, xcomposer_layout, xcomposer_tiles

__all__ = [
    "CLASS",
    "PART_SEPARATOR",
    "PATCH",
    "ROW_SEPARATOR",
    "TokenGrid",
    "TokenLayout",
    "join_layouts",
    "llava_layout",
    "llava_next_layout",
    "llava_next_tiles",
    "xcomposer_canvas",
    "xcomposer_layout",
    "xcomposer_tiles",
]
