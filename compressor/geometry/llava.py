"""The LLaVA-1.5 family: one square view of the image."""

import numpy as np

from compressor.geometry.grids import patch_grid
from compressor.geometry.layout import TokenLayout


def llava_layout(
    size: tuple[int, int], crop: bool = False, *, image_size: int = 336, patch_size: int = 14
) -> TokenLayout:
    """Layout of the LLaVA-1.5 family: one square view of the image cut into a grid of patches.

    With padding the whole image is seen, centred in a square of its longer edge; with cropping the shorter
    edge is resized to the view, the longer one truncated to whole pixels, and the middle is cut out.

    Args:
        size: (W, H) of the image in pixels.
        crop: cut the middle out (as the checkpoint's own processor does) instead of padding.
        image_size: edge of the view in its pixels.
        patch_size: edge of a patch in pixels of the view.
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
    return patch_grid(x, y, size)
