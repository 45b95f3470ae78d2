"""From an untrusted file to a clean RGB picture, or one clear error.

Only this module opens a visitor's file. It reads it into memory once and has it deleted.
"""

import threading
from pathlib import Path

from PIL import Image

from compressor.errors import ImageError
from compressor.images.decoder import decode_image

MAX_BYTES = 10_000_000
TOO_LARGE = f"The file has more than {MAX_BYTES // 1_000_000} MB; make it smaller."
NOT_ARRIVED = "The upload did not arrive; choose the picture again."
LINGER_S = 5.0
MIN_SIDE = 16  # a picture thinner than a patch or so has nothing to look at
MAX_ASPECT = 20  # beyond this, a processor that scales the short side makes a giant of the long one
KEPT_SIDE = 2048  # what is kept in memory of a picture: more than any supported model reads


def take_upload(path: str | Path | None) -> Image.Image:
    """Reads an uploaded file and has it deleted, so that the visitor's picture lives on in memory only.

    The file goes `LINGER_S` seconds later: the browser that sent it asks for it once more at the same moment.

    Args:
        path: where the web server put the upload; None where the page no longer had it.

    Returns:
        The picture as `clean_image` makes it.

    Raises:
        ImageError: the file is gone, too large, or not a picture that can be read.
    """
    if path is None:
        raise ImageError(NOT_ARRIVED)
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(TOO_LARGE)
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError(NOT_ARRIVED) from None
    finally:
        forget = threading.Timer(LINGER_S, path.unlink, kwargs={"missing_ok": True})
        forget.daemon = True
        forget.start()
    return clean_image(data)


def clean_image(data: bytes) -> Image.Image:
    """Decodes a picture of any common kind to upright 8-bit RGB, of a size and form that a page can show.

    Args:
        data: the bytes of the file.

    Returns:
        The picture as `decode_image` makes it; a side longer than `KEPT_SIDE` is scaled down.

    Raises:
        ImageError: as `decode_image` does, or the picture is too small or too elongated.
    """
    image = decode_image(data, upright=True)
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"This picture is {width} × {height} pixels; it needs at least {MIN_SIDE} pixels on each side."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"This picture is more than {MAX_ASPECT} times as long as it is wide; crop it and try again."
        )
    image.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    return image
