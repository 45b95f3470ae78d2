"""The files of a benchmark: found in the folder that a user has, pictures loaded from them."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from compressor.errors import DataError, ImageError
from compressor.images.decoder import decode_image


def find_file(folder: Path, names: Sequence[str], subfolders: Sequence[str]) -> Path:
    """The first of several files that is there; earlier names go before earlier subfolders.

    Args:
        folder: of the benchmark.
        names: of the file, the preferred one first.
        subfolders: of ``folder`` to look in, "" for itself.

    Raises:
        DataError: none is there; it names what was looked for and where.
    """
    for name in names:
        for subfolder in subfolders:
            path = folder / subfolder / name
            if path.is_file():
                return path
    inside = ", ".join(subfolder for subfolder in subfolders if subfolder)
    raise DataError(f"There is no file {' or '.join(names)} in {folder}, or in its subfolders {inside}.")


def load_picture(path: Path) -> Image.Image:
    """The picture in a file, as ``decode_image`` makes it; its EXIF orientation is left alone, as by LLaVA.

    Raises:
        ImageError: the file is gone or not a picture; it names the path.
    """
    try:
        return decode_image(path.read_bytes(), upright=False)
    except FileNotFoundError:
        raise ImageError(f"The picture {path} is gone; put it back.") from None
    except OSError as error:
        raise ImageError(f"The picture {path} cannot be read: {error.strerror}.") from None
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
