"""The pixels of a file decide whether it is a picture; what stands beside them never does."""

import io
import logging
import random
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from compressor.data.files import load_picture
from compressor.errors import ImageError
from compressor.images.decoder import decode_image
from tests.picture_files import PROFILE, XMP, described, encoded, exif, grey16, mutated, photo, variants

FILES = Path(__file__).resolve().parents[1] / "fixtures" / "files"
TIFFS = sorted(path.name for path in FILES.glob("*.tif"))
DESCRIBED = described()


def decode(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data, upright=True))


@pytest.mark.parametrize("name", [name for name in TIFFS if name != "stripoffsets_rational.tif"])
def test_a_tiff_with_an_odd_tag_is_the_picture(name: str):
    picture = load_picture(FILES / name)
    assert (picture.mode, picture.size, picture.getpixel((3, 3))) == ("RGB", (24, 20), (30, 30, 30))
    assert np.array_equal(picture, decode((FILES / "plain.tif").read_bytes()))


def test_a_tiff_that_does_not_say_where_its_pixels_are_is_an_image_error(caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(ImageError, match=r"stripoffsets_rational\.tif: This picture is damaged"):
        load_picture(FILES / "stripoffsets_rational.tif")
    assert "A picture could not be decoded: TypeError" in caplog.text


def test_a_png_with_a_large_text_is_the_picture():
    data = (FILES / "large_text.png").read_bytes()
    begin = data.index(b"zTXt") - 4
    (length,) = struct.unpack_from(">I", data, begin)
    without = data[:begin] + data[begin + 12 + length :]
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(without))))


@pytest.mark.parametrize("kind", DESCRIBED)
def test_metadata_of_every_format_changes_no_pixel(kind: str):
    plain = encoded(photo(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(decode(DESCRIBED[kind]), decode(plain))


def places(data: bytes) -> list[tuple[int, int]]:
    """Where metadata stands in a described file, its length fields excepted."""
    needles = (exif().tobytes().removeprefix(b"Exif\0\0"), PROFILE, XMP, b"made up", b"an editor")
    return [match.span() for needle in needles for match in re.finditer(re.escape(needle), data)]


@pytest.mark.parametrize("kind", [kind for kind in DESCRIBED if kind != "BMP"])
def test_damaged_metadata_changes_no_pixel(kind: str):
    sound, draw = DESCRIBED[kind], random.Random(0)
    expected = decode_image(sound, upright=False)
    assert places(sound)
    for _ in range(60):
        data = bytearray(sound)
        for begin, end in places(sound):
            for at in range(begin, end):
                if draw.random() < 0.3:
                    data[at] = draw.randrange(256)
        assert decode_image(bytes(data), upright=False) == expected
        assert sorted(decode_image(bytes(data), upright=True).size) == [48, 64]


@pytest.mark.parametrize("big", [False, True])
def test_no_tag_beside_the_pixels_can_break_a_tiff(big: bool):
    sound = encoded(photo(), "TIFF", exif=exif(), icc_profile=PROFILE, software="an editor", big_tiff=big)
    begin, count = (24, 16) if big else (10, 8)
    amount = struct.unpack_from("<Q" if big else "<H", sound, count)[0]
    broken = set()
    for index in range(amount):
        at = begin + index * (20 if big else 12)
        (tag,) = struct.unpack_from("<H", sound, at)
        if tag not in (271, 274, 305, 306, 34665, 34675, 34853):
            continue
        for kind in range(14):
            for rest in (b"\0", b"\1", b"\xff"):
                data = bytearray(sound)
                data[at + 2 : at + (20 if big else 12)] = struct.pack("<H", kind) + rest * (16 if big else 8)
                assert np.array_equal(decode(bytes(data)), photo())
                broken.add(tag)
    assert {271, 274, 305, 306, 34675} <= broken


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_where_it_is_wanted(kind: str, orientation: int):
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste("white", (0, 0, 32, 16))
    picture.paste("blue", (32, 0, 64, 16))
    data = encoded(picture, kind, exif=exif(orientation), quality=100)
    tag = Image.Exif()
    tag[0x0112] = orientation
    marked = Image.open(io.BytesIO(encoded(picture, "PNG", exif=tag)))
    expected = np.asarray(ImageOps.exif_transpose(marked), dtype=int)
    shown = decode_image(data, upright=True)
    assert shown.size == ((32, 64) if orientation > 4 else (64, 32))
    assert np.abs(np.asarray(shown, dtype=int) - expected).mean() < 8
    if kind != "TIFF":  # a decoder of TIFF turns the picture itself
        assert decode_image(data, upright=False).size == (64, 32)


def test_a_directory_at_the_very_end_of_the_bytes_still_counts():
    """Some programs leave out the pointer to a next directory, which there is none of."""
    block = struct.pack("<2sHIHHHIHH", b"II", 42, 8, 1, 274, 3, 1, 6, 0)
    assert decode_image(encoded(photo(), "PNG", exif=block), upright=True).size == (48, 64)
    assert decode_image(encoded(photo(), "PNG", exif=block[:-1]), upright=True) == photo()
    file = encoded(photo(), "TIFF", software="an editor", compression="raw")
    (begin,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, begin)
    directory = bytearray(file[begin : begin + 2 + 12 * count])
    for at in range(2, len(directory), 12):
        if struct.unpack_from("<H", directory, at)[0] == 305:
            directory[at + 2 : at + 12] = b"\xff" * 10
    moved = file[:4] + struct.pack("<I", len(file)) + file[8:] + directory
    assert decode_image(moved, upright=True) == photo()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("largest", "white"),
    [(65535, 65535), (40000, 65535), (16383, 16383), (9000, 16383), (4095, 4095), (1023, 1023), (200, 255)],
)
def test_whole_grey_is_scaled_from_the_bits_in_use(kind: str, largest: int, white: int):
    """So 12 bits in 16 are not nearly black, and 16 are not clipped."""
    shown = decode(encoded(grey16(largest), kind))[..., 0].astype(int)
    assert np.abs(shown - np.asarray(grey16(largest)) * (255 / white)).max() <= 0.51
    assert shown.max() == round(255 * largest / white)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """A TIFF of 12 bits a pixel, two pixels in three bytes."""
    even, odd = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=-1).astype(np.uint8)
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1)]
    tags += [(273, 200), (277, 1), (278, height), (279, packed.size)]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + b"\0\0\0\0"
    return head.ljust(200, b"\0") + packed.tobytes()


def test_a_tiff_that_says_its_depth_is_scaled_from_it():
    dark = np.asarray(grey16(500))
    assert np.abs(decode(tiff_of_12_bits(dark))[..., 0] - dark * (255 / 4095)).max() <= 0.51


def test_whole_grey_of_32_bits_is_not_black():
    values = np.linspace(0, 2**20 - 1, 32 * 32).reshape(32, 32).astype(np.int32)
    assert np.abs(decode(encoded(Image.fromarray(values), "TIFF"))[..., 0] - values / 2**20 * 255).max() <= 1


@pytest.mark.parametrize("name", ["16-bit.png", "alpha.png"])
def test_benchmarks_see_the_same_pixels_as_uploads(tmp_path, name: str):
    alpha = photo().convert("RGBA")
    alpha.putalpha(photo().convert("L"))
    path = tmp_path / name
    path.write_bytes(encoded(grey16(4095) if name == "16-bit.png" else alpha, "PNG"))
    assert np.array_equal(load_picture(path), decode(path.read_bytes()))


def test_a_broken_checksum_of_pixels_is_damage_and_of_a_text_is_not():
    data = DESCRIBED["PNG"]
    text, pixels = data.index(b"made up"), data.index(b"IDAT") + 60
    assert np.array_equal(decode(data[:text] + b"other" + data[text + 5 :]), photo())
    with pytest.raises(ImageError, match="damaged"):
        decode(data[:pixels] + b"\0\0\0\0" + data[pixels + 4 :])


def test_what_follows_the_pixels_is_not_needed():
    data = DESCRIBED["PNG"]
    late = struct.pack(">I", 2**31) + b"tEXt" + b"cut off"
    assert np.array_equal(decode(data[: data.rindex(b"IEND") - 4] + late), photo())
    assert zlib.crc32(b"IEND").to_bytes(4) == data[-4:]


def test_a_picture_that_cannot_be_read_from_the_disk_names_its_path(tmp_path):
    with pytest.raises(ImageError, match=rf"{tmp_path.name} cannot be read: Is a directory"):
        load_picture(tmp_path)


def fuzz(count: int, seed: int) -> tuple[int, int]:
    """Numbers of pictures and of errors among damaged files of all formats."""
    files = [*DESCRIBED.values(), *variants(), *((FILES / name).read_bytes() for name in TIFFS)]
    pictures = errors = 0
    for data in mutated(files, count, seed):
        try:
            assert decode_image(data, upright=True).mode == "RGB"
            pictures += 1
        except ImageError as error:
            assert "\n" not in str(error) and str(error).count(". ") == 0
            errors += 1
    return pictures, errors


@pytest.mark.filterwarnings("ignore::Warning")  # of the decoder, about what was damaged
def test_200_damaged_files_are_pictures_or_image_errors():
    pictures, errors = fuzz(200, seed=0)
    assert pictures > 20 and errors > 50


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::Warning")
def test_many_damaged_files_are_pictures_or_image_errors(pytestconfig):
    count = pytestconfig.getoption("damaged_files")
    assert sum(fuzz(count, pytestconfig.getoption("damage_seed"))) == count
