"""What of an image a drawing is about: with tiles it is seen twice, as a whole and in tiles."""

from typing import Literal

import numpy as np

from compressor import TokenLayout

View = Literal["whole", "tiles"]
VIEWS: dict[View, str] = {"whole": "Whole image", "tiles": "Tiles"}


def view_patches(layout: TokenLayout) -> dict[View, np.ndarray]:
    """Token indices of the patches of each view, grid by grid; no "tiles" where the layout has one grid.

    The first grid covers the whole image. Separators and [CLS] lie in no grid.
    """
    whole, *tiles = (grid.indices().reshape(-1) for grid in layout.grids)
    return {"whole": whole, "tiles": np.concatenate(tiles)} if tiles else {"whole": whole}


def patches_of(layout: TokenLayout, view: View) -> np.ndarray:
    """Token indices of the patches of a view that show some of the image; without tiles there is one view."""
    views = view_patches(layout)
    patches = views.get(view, views["whole"])
    return patches[~np.isnan(layout.boxes[patches, 0])]
