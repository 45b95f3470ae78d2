"""The part of a picture file that holds its pixels, and which way up they are.

Decoders refuse a sound picture for what stands beside its pixels: a text that is too long, a date of an odd
type. So it is taken out of the bytes before a decoder sees them, by the rules of each format. Of the formats
that are not named here, the decoder reads nothing but pixels.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ORIENTATION = 274
UPRIGHT = 1

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
_JPEG_SCAN, _JPEG_END, _JPEG_COMMENT = 0xDA, 0xD9, 0xFE
_JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_JPEG_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # say what the channels are, if long enough

# TIFF 6.0 and its technical notes: the tags that a decoder needs for the pixels, and the orientation.
_TIFF_PIXELS = {
    *(256, 257, 258, 259, 262, 266, 277, 284, ORIENTATION),  # size, bits, compression, channels
    *(273, 278, 279, 322, 323, 324, 325),  # where strips and tiles are
    *(292, 293, 317, 320, 332, 338, 339),  # fax, predictor, palette, inks, transparency, sample format
    *(347, 512, 513, 514, 515, 517, 518, 519, 520, 521),  # JPEG tables
    *(529, 530, 531, 532),  # YCbCr
}
_SHORT = 3  # the type of a TIFF value of 16 bits

# an item: version and flags, its number, its protection, its type
_AVIF_EXIF = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.DOTALL)


class Pixels(NamedTuple):
    """A picture file reduced to what a decoder needs.

    Attributes:
        data: the bytes of the file, of the same format.
        exif: the EXIF block that was taken out, a TIFF file without pixels; empty where there was none.
    """

    data: bytes
    exif: bytes


def pixels_of(data: bytes) -> Pixels:
    """Takes the metadata out of a PNG, JPEG, TIFF or AVIF file; bytes of other formats stay as they are.

    Args:
        data: the bytes of the file, which may be damaged anywhere.

    Source: PNG (third edition) section 5.4; ITU-T T.81 annex B; TIFF 6.0 section 2; ISO/IEC 23008-12.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[4:8] == b"ftyp":
        # of the directions that an AVIF file gives, those outside its EXIF block hold
        return Pixels(_AVIF_EXIF.sub(rb"\1none", data), b"")
    return Pixels(_tiff(data), b"")


def orientation(exif: bytes) -> int:
    """Which way up pixels are, from 1 to 8 as in EXIF; 1, upright, where the block does not say so soundly.

    Args:
        exif: a block as of ``Pixels``, with or without the marker "Exif" before it.
    """
    block = exif.removeprefix(_EXIF)
    directory = _directory(block)
    if directory is None:
        return UPRIGHT
    found = (directory.short(entry) for tag, entry in directory.entries(block) if tag == ORIENTATION)
    return next(found, UPRIGHT)


def _png(data: bytes) -> Pixels:
    """Critical chunks (a capital first letter) and the transparency."""
    kept, exif, begin = [_PNG], b"", len(_PNG)
    while begin + 8 <= len(data):
        (length,), kind = struct.unpack_from(">I", data, begin), data[begin + 4 : begin + 8]
        chunk = data[begin : begin + 12 + length]
        begin += len(chunk)
        if kind[:1].isupper() or kind == b"tRNS":
            kept.append(chunk)
        elif kind == b"eXIf" and chunk[8 + length :] == struct.pack(">I", zlib.crc32(chunk[4 : 8 + length])):
            exif = chunk[8 : 8 + length]
    return Pixels(b"".join(kept), exif)


def _jpeg(data: bytes) -> Pixels:
    """All segments before the first scan but those of applications and comments; what follows stays."""
    kept, exif, begin = [data[:2]], b"", 2
    while begin + 4 <= len(data) and data[begin] == 0xFF:
        marker = data[begin + 1]
        if marker == 0xFF:  # a fill byte
            begin += 1
            continue
        if marker in (_JPEG_SCAN, _JPEG_END):
            break
        length = 0 if marker in _JPEG_BARE else int.from_bytes(data[begin + 2 : begin + 4])
        segment = data[begin : begin + 2 + length]
        content = segment[4:]
        begin += len(segment)
        if marker == 0xE1 and content.startswith(_EXIF):
            exif = exif or content
        name, least = _JPEG_COLOURS.get(marker, (b"", 0))
        of_application = 0xE0 <= marker <= 0xEF or marker == _JPEG_COMMENT
        if not of_application or (name and content.startswith(name) and len(content) >= least):
            kept.append(segment)
    return Pixels(b"".join(kept) + data[begin:], exif)


@dataclass(frozen=True)
class _Directory:
    """The first directory of a TIFF file: where its entries begin, how many, and how they are written."""

    order: str
    begin: int
    count: int
    big: bool

    @property
    def width(self) -> int:
        """Bytes of an entry."""
        return 20 if self.big else 12

    def entries(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Tag and bytes of each entry."""
        for index in range(self.count):
            begin = self.begin + index * self.width
            entry = data[begin : begin + self.width]
            yield struct.unpack_from(self.order + "H", entry)[0], entry

    def short(self, entry: bytes) -> int:
        """The value of an orientation entry, 1 where it is not one number from 1 to 8."""
        kind, count = struct.unpack_from(self.order + ("HQ" if self.big else "HI"), entry, 2)
        (value,) = struct.unpack_from(self.order + "H", entry, 12 if self.big else 8)
        return value if (kind, count) == (_SHORT, 1) and 1 <= value <= 8 else UPRIGHT


def _directory(data: bytes) -> _Directory | None:
    """The first directory, None where the bytes are not those of a TIFF file or end before it does."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version not in (42, 43):
        return None
    big = version == 43
    (begin,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    if begin + (8 if big else 2) > len(data):
        return None
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, begin)
    found = _Directory(order, begin + (8 if big else 2), count, big)
    return found if found.begin + count * found.width <= len(data) else None


def _tiff(data: bytes) -> bytes:
    """The same file with the directory of its first picture alone, and in it the tags of pixels alone."""
    directory = _directory(data)
    if directory is None:
        return data
    kept = [
        entry
        for tag, entry in directory.entries(data)
        if tag in _TIFF_PIXELS and (tag != ORIENTATION or directory.short(entry) != UPRIGHT)
    ]
    width = 8 if directory.big else 2
    end = directory.begin + directory.count * directory.width + (8 if directory.big else 4)
    head = struct.pack(directory.order + ("Q" if directory.big else "H"), len(kept))
    written = (head + b"".join(kept)).ljust(end - directory.begin + width, b"\0")  # no next directory
    return data[: directory.begin - width] + written + data[end:]
