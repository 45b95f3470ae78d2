"""The files of a checkpoint's weights: which there are, whether all are there, and whether each is whole."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from compressor.errors import ModelUnavailableError

WeightFormat = tuple[str, str]  # an index, and a pattern of the files that it names
SAFETENSORS: WeightFormat = ("model.safetensors.index.json", "model*.safetensors")
PICKLED: WeightFormat = ("pytorch_model.bin.index.json", "pytorch_model*.bin")
SHARD = re.compile(r"-\d+-of-\d+\.")  # in the name of a file that holds a part of the weights


def weight_files(directory: Path, formats: Sequence[WeightFormat]) -> list[Path]:
    """The files of the first format that the directory has, by its index where there is one.

    Raises:
        ModelUnavailableError: there are none, or some are missing.
    """
    for index, pattern in formats:
        if (directory / index).is_file():
            try:
                named = json.loads((directory / index).read_text(encoding="utf-8"))["weight_map"].values()
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise damaged(directory / index) from error
            files = [directory / Path(name).name for name in sorted(set(named))]
        else:
            files = sorted(directory.glob(pattern))
        missing = [file.name for file in files if not file.is_file()]
        if any(SHARD.search(file.name) for file in files) and not (directory / index).is_file():
            missing.append(index)
        if missing:
            raise ModelUnavailableError(
                f"The checkpoint {directory.name!r} lacks {', '.join(missing)}; finish its download."
            )
        if files:
            return files
    kinds = " or ".join(pattern for _, pattern in formats)
    raise ModelUnavailableError(f"There are no weights ({kinds}) in {directory.name!r}; finish its download.")


def require_whole(file: Path) -> None:
    """Read the header of a safetensors file, which says how long the file must be.

    Raises:
        ModelUnavailableError: it is damaged or cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise damaged(file) from error


def damaged(file: Path) -> ModelUnavailableError:
    """The error that says which file is to be downloaded again."""
    return ModelUnavailableError(
        f"The file {file.name} of {file.parent.name!r} is damaged or incomplete; download it again."
    )


def stored_bytes(directory: Path) -> int:
    """Bytes of all files of weights in a directory; 0 if there are none, or no directory."""
    files = [file for _, pattern in (SAFETENSORS, PICKLED) for file in directory.glob(pattern)]
    return sum(file.stat().st_size for file in files)
