"""Every kind of file a visitor may drop on the page becomes a clean picture or one clear sentence."""

import contextlib
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from app import uploads
from app.uploads import clean_image, take_upload
from compressor.errors import ImageError
from tests.picture_files import encoded, photo


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises `width` x `height` pixels and holds almost none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def palette_with_alpha() -> bytes:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.paste(0, (0, 0, 20, 40))
    return encoded(image, "PNG", transparency=0)


def animated_gif() -> bytes:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50, loop=0)


def rotated_jpeg() -> bytes:
    image = Image.new("RGB", (64, 32), "black")
    image.paste((255, 255, 255), (0, 0, 32, 32))  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    return encoded(image, "JPEG", exif=exif, quality=95)


GREY16 = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)

READABLE = {
    "png": (encoded(photo(), "PNG"), (64, 48)),
    "jpeg": (encoded(photo(), "JPEG"), (64, 48)),
    "webp": (encoded(photo(), "WEBP"), (64, 48)),
    "bmp": (encoded(photo(), "BMP"), (64, 48)),
    "tiff": (encoded(photo(), "TIFF"), (64, 48)),
    "avif": (encoded(photo(), "AVIF"), (64, 48)),
    "grey": (encoded(photo().convert("L"), "PNG"), (64, 48)),
    "one bit": (encoded(photo().convert("1"), "PNG"), (64, 48)),
    "cmyk jpeg": (encoded(photo().convert("CMYK"), "JPEG"), (64, 48)),
    "16-bit grey": (encoded(Image.fromarray(GREY16), "PNG"), (32, 32)),
    "float tiff": (encoded(Image.fromarray(GREY16.astype(np.float32)), "TIFF"), (32, 32)),
    "grey with alpha": (encoded(photo().convert("LA"), "PNG"), (64, 48)),
    "palette with alpha": (palette_with_alpha(), (40, 40)),
    "rotated": (rotated_jpeg(), (32, 64)),
    "animated": (animated_gif(), (32, 32)),
    "large": (encoded(photo((4096, 1024)), "JPEG"), (uploads.KEPT_SIDE, uploads.KEPT_SIDE // 4)),
}


@pytest.mark.parametrize("kind", READABLE)
def test_readable_files_become_plain_rgb(kind: str):
    data, size = READABLE[kind]
    image = clean_image(data)
    assert (image.mode, image.size) == ("RGB", size)
    assert not image.getexif() and not image.info


def test_lossless_pixels_are_untouched():
    assert np.array_equal(clean_image(encoded(photo(), "PNG")), photo())


def test_cmyk_shows_its_colours():
    red = clean_image(encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "TIFF"))
    assert red.getpixel((16, 16)) == (255, 0, 0)


def test_16_bit_grey_keeps_its_whole_range():
    values = np.asarray(clean_image(READABLE["16-bit grey"][0]))[..., 0].astype(int)
    assert np.abs(values - GREY16 / 257).max() <= 0.5


def test_float_grey_is_stretched_to_its_own_range():
    values = np.asarray(clean_image(READABLE["float tiff"][0]))
    assert values.min() == 0 and values.max() == 255


def test_transparent_parts_become_white():
    image = clean_image(palette_with_alpha())
    assert image.getpixel((5, 5)) == (255, 255, 255)
    assert image.getpixel((30, 5)) == (0, 0, 200)


def test_exif_orientation_is_applied_so_that_the_white_left_half_is_on_top():
    image = clean_image(rotated_jpeg())
    assert image.getpixel((16, 8))[0] > 200 and image.getpixel((16, 56))[0] < 50


def test_first_frame_of_an_animation():
    assert clean_image(animated_gif()).getpixel((16, 16)) == (255, 0, 0)


PNG, JPEG, GIF = READABLE["png"][0], READABLE["jpeg"][0], encoded(photo(), "GIF")
UNREADABLE = {
    "empty": (b"", "not a picture"),
    "text": (b"hello, I am a picture", "not a picture"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    "pdf": (b"%PDF-1.7 nothing", "not a picture"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n", "not a picture"),
    "cut png": (PNG[: len(PNG) // 2], "damaged or cut off"),
    "cut jpeg": (JPEG[: len(JPEG) // 2], "damaged or cut off"),
    "cut gif": (GIF[: len(GIF) // 2], "damaged or cut off"),
    "wrong checksum": (PNG[:60] + b"\0\0\0\0" + PNG[64:], "damaged or cut off"),
    "1 x 1": (encoded(photo((1, 1)), "PNG"), "1 × 1 pixels"),
    "strip": (encoded(photo((900, 20)), "PNG"), "20 times"),
    "20,000 x 20,000": (png_header(20_000, 20_000), "50 megapixels"),
    "8,000 x 8,000": (png_header(8_000, 8_000), "50 megapixels"),
    "2^31 wide": (png_header(2**31 - 1, 16), "megapixels"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_say_why_in_one_sentence(kind: str):
    data, reason = UNREADABLE[kind]
    with pytest.raises(ImageError, match=reason) as caught:
        clean_image(data)
    assert "\n" not in str(caught.value) and str(caught.value).count(". ") == 0


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff", "bmp", "avif", "animated"])
def test_every_cut_and_every_flip_ends_in_a_picture_or_an_image_error(kind: str):
    data = READABLE[kind][0]
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data[: rng.integers(1, len(data) + 1)])
        for place in rng.integers(0, len(broken), 4):
            broken[place] = rng.integers(256)
        with contextlib.suppress(ImageError):
            assert clean_image(bytes(broken)).mode == "RGB"


def gone(path) -> bool:
    """Whether the file disappears within a few seconds."""
    deadline = time.monotonic() + 5
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not path.exists()


def test_an_upload_is_read_and_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LINGER_S", 0.2)
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    assert take_upload(path).size == (64, 48)
    assert path.exists() and gone(path)


def test_an_upload_that_is_missing_or_too_large_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "LINGER_S", 0.0)
    path = tmp_path / "a.png"
    with pytest.raises(ImageError, match="did not arrive"):
        take_upload(tmp_path / "missing.png")  # another name: it is deleted a moment later
    with pytest.raises(ImageError, match="did not arrive"):
        take_upload(None)  # a picture that came from the server meanwhile has taken its place in the frame
    path.write_bytes(PNG)
    monkeypatch.setattr(uploads, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match="more than"):
        take_upload(path)
    assert gone(path)
