"""From the bytes of a picture file to its pixels as RGB: for uploads and for the readers of benchmarks.

The pixels decide whether a file can be read, its metadata never does (``metadata``).
"""

import io
import logging

import numpy as np
from PIL import Image, UnidentifiedImageError

from compressor.errors import ImageError
from compressor.images.metadata import orientation, pixels_of

MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
DEPTHS = (8, 10, 12, 14, 16)  # bits of grey that cameras and scanners store in 16

_FORMATS_TEXT = "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE = 258  # a TIFF tag

_log = logging.getLogger(__name__)


def decode_image(data: bytes, *, upright: bool) -> Image.Image:
    """Decodes a picture of any common kind to 8-bit RGB on white, without metadata.

    Of an animation the first frame is taken; transparency is laid on white. Grey of more than 8 bits is
    scaled from the bits in use: those that a TIFF file says, or else the least of ``DEPTHS`` that its largest
    value fits in. Floating-point grey is stretched from its least to its largest value.

    Args:
        data: the bytes of the file.
        upright: whether an EXIF orientation is applied; that of a TIFF file always is.

    Raises:
        ImageError: not a picture, damaged or cut off, or too many pixels.
    """
    pixels = pixels_of(data)
    try:
        image = Image.open(io.BytesIO(pixels.data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        image.load()
        rgb = _to_rgb(image)
        exif = pixels.exif or image.info.get("exif", b"")
    except UnidentifiedImageError:
        raise ImageError(f"This file is not a picture that can be read; use {_FORMATS_TEXT}.") from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"This picture has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller and try again."
        ) from None
    except Exception as cause:  # noqa: BLE001 - whatever a decoder meets in bytes that anybody may have written
        _log.info("A picture could not be decoded: %s", type(cause).__name__)  # its text may quote the file
        raise ImageError(
            "This picture is damaged or cut off; save or download it again and try once more."
        ) from None
    turn = _TURNS.get(orientation(exif)) if upright else None
    turned = rgb if turn is None else rgb.transpose(turn)
    return Image.fromarray(np.asarray(turned))  # only pixels: no EXIF, no profile, no file handle


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
    """Grey of whole numbers (modes I, I;16*) or floating-point ones, by the rules of ``decode_image``."""
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float64)
        low, high = values.min(), values.max()
    else:
        low, high = 0, 2 ** _depth(image, int(values.max())) - 1
    values = (values - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _depth(image: Image.Image, largest: int) -> int:
    """Bits in use of grey that is stored in 16 or 32."""
    used = max(largest, 0).bit_length()
    (declared,) = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    if used <= declared < DEPTHS[-1]:
        return declared
    return next((depth for depth in DEPTHS if used <= depth), used)
