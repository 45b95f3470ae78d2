"""Pictures whose pixels say where they are."""

import numpy as np
from PIL import Image


def colour_probe(width: int, height: int, blue: int) -> Image.Image:
    """An image whose red and green say x / W and y / H; its blue tells it from padding."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = [(x + 0.5) / width * 255, (y + 0.5) / height * 255, np.full(x.shape, blue)]
    return Image.fromarray(np.rint(np.stack(pixels, axis=-1)).astype(np.uint8))
