"""Picture files of every format that is read, with the metadata that cameras and editors write."""

import io
import random
from collections.abc import Iterator

import numpy as np
from PIL import Image, PngImagePlugin

PROFILE = bytes(range(256)) * 2  # stands for an ICC profile
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="1"/></x:xmpmeta>'


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file of some format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Noise of three colours."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def grey16(largest: int = 65535, size: int = 32) -> Image.Image:
    """A ramp of 16-bit grey from 0 to `largest`."""
    return Image.fromarray(np.linspace(0, largest, size * size).reshape(size, size).astype(np.uint16))


def exif(orientation: int = 1) -> Image.Exif:
    """What a camera writes: make, date, orientation, exposure and a position."""
    block = Image.Exif()
    block[0x010F], block[0x0132], block[0x0112] = "Camera", "2026:01:02 03:04:05", orientation
    block.get_ifd(0x8769)[0x829A] = (1, 60)
    block.get_ifd(0x8825)[1] = "N"
    return block


def png_texts() -> PngImagePlugin.PngInfo:
    """Texts of the three kinds that a PNG may hold."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "made up")
    texts.add_text("Software", "an editor " * 20, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return texts


def described() -> dict[str, bytes]:
    """By format: the same noise with all the metadata that the format can hold."""
    whole = {"exif": exif(), "icc_profile": PROFILE, "xmp": XMP}
    return {
        "PNG": encoded(photo(), "PNG", exif=exif(), icc_profile=PROFILE, pnginfo=png_texts(), dpi=(72, 72)),
        "JPEG": encoded(photo(), "JPEG", comment=b"made up", dpi=(72, 72), **whole),
        "WEBP": encoded(photo(), "WEBP", lossless=True, **whole),
        "GIF": encoded(photo(), "GIF", comment=b"made up"),
        "BMP": encoded(photo(), "BMP", dpi=(72, 72)),
        "TIFF": encoded(
            photo(), "TIFF", exif=exif(), icc_profile=PROFILE, dpi=(72, 72), software="an editor"
        ),
        "AVIF": encoded(photo(), "AVIF", **whole),
    }


def variants() -> list[bytes]:
    """Further modes, compressions and animations, of every format."""
    frames = [photo(), photo().transpose(Image.Transpose.ROTATE_180)]
    animated = {"save_all": True, "append_images": frames[1:]}
    palette = photo().quantize(16)
    alpha = photo().convert("RGBA")
    alpha.putalpha(photo().convert("L"))
    floating = Image.fromarray(np.asarray(grey16(), dtype=np.float32))
    pngs = [
        *(encoded(image, "PNG") for image in (grey16(), alpha, alpha.convert("LA"), photo().convert("1"))),
        encoded(palette, "PNG", transparency=0),
        encoded(frames[0], "PNG", **animated),
    ]
    jpegs = [
        encoded(photo(), "JPEG", progressive=True),
        encoded(photo().convert("CMYK"), "JPEG"),
        encoded(photo().convert("L"), "JPEG", exif=exif(6)),
    ]
    tiffs = [
        *(encoded(photo(), "TIFF", compression=f"tiff_{kind}") for kind in ("lzw", "adobe_deflate", "jpeg")),
        encoded(photo().convert("1"), "TIFF", compression="group4"),
        encoded(photo(), "TIFF", compression="packbits"),
        encoded(photo(), "TIFF", big_tiff=True, exif=exif(6)),
        *(encoded(image, "TIFF") for image in (grey16(), floating, palette, alpha, photo().convert("CMYK"))),
        encoded(frames[0], "TIFF", **animated),
    ]
    webps = [encoded(photo(), "WEBP"), encoded(alpha, "WEBP"), encoded(frames[0], "WEBP", **animated)]
    gifs = [encoded(palette, "GIF", transparency=0), encoded(frames[0], "GIF", **animated)]
    bmps = [encoded(image, "BMP") for image in (palette, photo().convert("1"), photo().convert("L"))]
    avifs = [
        encoded(alpha, "AVIF"),
        encoded(photo().convert("L"), "AVIF", exif=exif(6)),
        encoded(frames[0], "AVIF", **animated),
    ]
    return [*pngs, *jpegs, *tiffs, *webps, *gifs, *bmps, *avifs]


def mutated(files: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies of each file in turn: bytes changed, bits flipped, parts cut, doubled or moved.

    Args:
        files: sound ones.
        count: of damaged copies.
        seed: of all choices.
    """
    draw = random.Random(seed)
    for index in range(count):
        data = bytearray(files[index % len(files)])
        for _ in range(draw.choice((1, 1, 2, 4, 16))):
            at = draw.randrange(min(len(data), draw.choice((64, 512, len(data)))))  # headers more often
            length = draw.choice((1, 2, 4, draw.randrange(1, len(data) + 1)))
            match draw.randrange(7):
                case 0:
                    data[at] = draw.randrange(256)
                case 1:
                    data[at] ^= 1 << draw.randrange(8)
                case 2:
                    data[at : at + 4] = draw.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
                case 3:
                    del data[at : at + length]
                case 4:
                    data[at:at] = data[at : at + length]
                case 5:
                    data[at:at] = draw.randbytes(min(length, 64))
                case 6:
                    del data[len(data) - min(length, len(data) - 1) :]
            data = data or bytearray(b"\0")
        yield bytes(data)
