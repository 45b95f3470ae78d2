"""From an untrusted file to a clean RGB picture, or one clear error.

Only this module opens a visitor's file. It reads it into memory once and has it deleted.
"""

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from compressor.errors import ImageError

MAX_BYTES = 10_000_000
TOO_LARGE = f"The file has more than {MAX_BYTES // 1_000_000} MB; make it smaller."
LINGER_S = 5.0
MAX_PIXELS = 50_000_000
MIN_SIDE = 16  # a picture thinner than a patch or so has nothing to look at
MAX_ASPECT = 20  # beyond this, a processor that scales the short side makes a giant of the long one
KEPT_SIDE = 2048  # what is kept in memory of a picture: more than any supported model reads

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_FORMATS_TEXT = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)


def take_upload(path: str | Path) -> Image.Image:
    """Reads an uploaded file and has it deleted, so that the visitor's picture lives on in memory only.

    The file goes `LINGER_S` seconds later: the browser that sent it asks for it once more at the same moment.

    Args:
        path: where the web server put the upload.

    Returns:
        The picture as `clean_image` makes it.

    Raises:
        ImageError: the file is gone, too large, or not a picture that can be read.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(TOO_LARGE)
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("The upload did not arrive; please choose the picture again.") from None
    finally:
        forget = threading.Timer(LINGER_S, path.unlink, kwargs={"missing_ok": True})
        forget.daemon = True
        forget.start()
    return clean_image(data)


def clean_image(data: bytes) -> Image.Image:
    """Decodes a picture of any common kind to upright 8-bit RGB on white, without metadata.

    Of an animation the first frame is taken; transparency is laid on white; 16-bit and floating-point grey is
    brought to 8 bits; the EXIF orientation is applied; a side longer than `KEPT_SIDE` is scaled down.

    Args:
        data: the bytes of the file.

    Raises:
        ImageError: not a picture, damaged or cut off, too many pixels, too small, or too elongated.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(f"This file is not a picture that can be read; use {_FORMATS_TEXT}.") from None
    except Image.DecompressionBombError:
        raise ImageError(_too_many_pixels()) from None
    except _DAMAGE:
        raise ImageError(_damaged()) from None
    _check_size(*image.size)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        rgb = _to_rgb(upright)
    except Image.DecompressionBombError:
        raise ImageError(_too_many_pixels()) from None
    except _DAMAGE:
        raise ImageError(_damaged()) from None
    rgb.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.LANCZOS)
    return Image.fromarray(np.asarray(rgb))  # only pixels: no EXIF, no profile, no file handle


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(_too_many_pixels())
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"This picture is {width} × {height} pixels; it needs at least {MIN_SIDE} pixels on each side."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            f"This picture is more than {MAX_ASPECT} times as long as it is wide; crop it and try again."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes; transparent parts become white."""
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        image = Image.alpha_composite(ground, layer)
    return image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits (modes I, I;16*) by its high byte; floating-point grey by its own range."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = values.min(), values.max()
        values = (values - low) * (255.0 / max(high - low, 1e-12))
    else:
        values = values / 257.0
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _too_many_pixels() -> str:
    return f"This picture has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller and try again."


def _damaged() -> str:
    return "This picture is damaged or cut off; save or download it again and try once more."
