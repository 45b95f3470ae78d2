"""The image coloured by P: which patches are kept, merged or pruned, or how much of each arrives."""

from typing import Literal

import numpy as np
from PIL import Image

from app.figures.views import View, patches_of
from compressor import Projection

Colouring = Literal["roles", "retention"]
SIDE = 720  # the longer side of the drawing, in pixels

FRAME = np.array([0x00, 0x72, 0xB2], np.float32)  # around kept patches
HATCH = np.array([0xD5, 0x5E, 0x00], np.float32)  # over merged ones
_PRUNED_LIGHT = 0.30  # what black leaves of a pruned patch
_UNSEEN = np.array([200.0, 200.0, 200.0], np.float32)


def overlay(
    projection: Projection, image: Image.Image, colouring: Colouring = "roles", view: View = "whole"
) -> Image.Image:
    """Draws what became of every patch of a view onto the image.

    With "roles", a kept patch shows untouched in a blue frame, a merged one under an orange hatch, the darker
    the less of it arrives, a pruned one grey and dark. With "retention", a patch is the brighter the more of
    its weight arrives (the column sum of P). What no patch covers is washed out: the model never saw it.

    Args:
        projection: P (m, n) with its layout.
        image: the image (W x H) that the layout's rectangles refer to.
        colouring: "roles" or "retention".
        view: whose patches; those of the other view cover the same places.
    """
    picture = _enlarged(image)
    pixels = np.asarray(picture, dtype=np.float32)
    scale = np.array([picture.width / image.width, picture.height / image.height] * 2)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)  # (H, W)
    dark = np.repeat(grey[..., None] * _PRUNED_LIGHT, 3, axis=2)
    out = 0.25 * pixels + 0.75 * _UNSEEN
    paint = _paint_roles if colouring == "roles" else _paint_retention
    shown = patches_of(projection.layout, view)
    boxes = np.rint(projection.layout.boxes[shown] * scale).astype(int)  # left, top, right, bottom
    paint(projection, shown, boxes, pixels, dark, out)
    return Image.fromarray(np.clip(out, 0, 255).astype(np.uint8))


def _enlarged(image: Image.Image) -> Image.Image:
    factor = SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _paint_roles(projection: Projection, shown, boxes, pixels, dark, out) -> None:
    """Kept, merged and pruned in three different ways: a frame, a hatch, darkness; never by colour alone."""
    rows, columns = np.indices(dark.shape[:2])
    hatch = (rows + columns) % 9 < 3  # (H, W): diagonal lines
    roles, share = np.array(projection.roles())[shown], _share(projection)[shown]
    for (left, top, right, bottom), role, light in zip(boxes, roles, share, strict=True):
        place = np.s_[top:bottom, left:right]
        if role == "pruned":
            out[place] = dark[place]
        elif role == "merged":
            patch = light * pixels[place] + (1 - light) * dark[place]
            lines = light * HATCH + (1 - light) * dark[place]
            out[place] = np.where(hatch[place][..., None], 0.25 * patch + 0.75 * lines, patch)
        else:
            out[place] = pixels[place]
            _frame(out, left, top, right, bottom)


def _frame(out: np.ndarray, left: int, top: int, right: int, bottom: int) -> None:
    width = min(3, max(1, min(right - left, bottom - top) // 7))  # hundreds of tiny patches stay visible
    out[top : top + width, left:right] = FRAME
    out[bottom - width : bottom, left:right] = FRAME
    out[top:bottom, left : left + width] = FRAME
    out[top:bottom, right - width : right] = FRAME


def _paint_retention(projection: Projection, shown, boxes, pixels, dark, out) -> None:
    """From dark grey (nothing arrives) to the picture itself (as much as of any patch)."""
    for (left, top, right, bottom), light in zip(boxes, _share(projection)[shown], strict=True):
        place = np.s_[top:bottom, left:right]
        out[place] = light * pixels[place] + (1 - light) * dark[place]


def _share(projection: Projection) -> np.ndarray:
    """How much of each token arrives, (n,) in [0, 1]: the square root of its column sum against a high one.

    The measure is the 95th percentile of what arrives at all, so that one spike does not darken the rest.
    """
    retention = projection.retention().cpu().numpy()
    arriving = retention[retention > 0]
    if not len(arriving):
        return retention
    return np.sqrt(np.minimum(retention / np.quantile(arriving, 0.95), 1.0))
