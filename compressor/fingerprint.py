"""What results depend on, as plain data with named fields, so that a folder is never continued with another.

Training, the cache of the frozen model and evaluation compare the same fields: the model's files, its options
and its dtype, the content of the dialogues, and the recipe. A field is a value of JSON; content is given by a
digest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor.dialogues import Dialogue, PictureFile
from compressor.errors import DataError
from compressor.models.base import VisionLanguageModel
from compressor.models.catalog import FAMILIES

Fields = dict[str, Any]
DIGEST = "sha256:"  # begins a value that is equal or not, and says nothing to a person


def of_model(model: VisionLanguageModel) -> Fields:
    """What a model computes with: its name, its files, its dtype and the options of its family.

    The files of a model that was loaded are identified by their content; for one made in memory, all its
    numbers stand for them.

    Args:
        model: the model.
    """
    # imports transformers, which takes seconds; who has a model has it already
    from compressor.models.loading.quantization import is_four_bit

    return {
        "model": model.name,
        "model files": _of_memory(model)
        if model.directory is None
        else _of_checkpoint(model.family, model.directory),
        "dtype": str(model.dtype).removeprefix("torch."),
        "four-bit weights": any(map(is_four_bit, model.hf.parameters())),
        **model.options,
    }


def _of_checkpoint(family: str, directory: Path) -> str:
    patterns = FAMILIES[family].files.patterns
    files = {file for pattern in patterns for file in directory.glob(pattern) if file.is_file()}
    return _of_parts(f"{file.name} {of_file(file)}".encode() for file in sorted(files))


def _of_memory(model: VisionLanguageModel) -> str:
    configs = f"{model.text_config} {model.vision_config}".encode()
    return _of_parts([configs, of_tensors(model.hf.state_dict()).encode()])


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names, shapes, dtypes and every number.

    Args:
        tensors: by name, of any shape and dtype.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return DIGEST + digest.hexdigest()


def of_file(file: Path) -> str:
    """A digest of a file's content, read again only after its size or time of change is another.

    Args:
        file: of any size.
    Raises:
        DataError: it cannot be read.
    """
    try:
        status = file.stat()
        return _of_content(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise DataError(f"The file {file} cannot be read ({error.strerror}); put it back.") from error


@lru_cache(maxsize=1 << 16)
def _of_content(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as content:
        return DIGEST + hashlib.file_digest(content, "sha256").hexdigest()


def of_dialogues(dialogues: Sequence[Dialogue]) -> str:
    """A digest of the dialogues' ids, pictures, questions and answers, in their order.

    Args:
        dialogues: the order is part of the digest.
    Raises:
        DataError, ImageError: a picture cannot be read.
    """
    return _of_parts(map(_of_dialogue, dialogues))


def _of_dialogue(dialogue: Dialogue) -> bytes:
    turns = [vars(turn) for turn in dialogue.turns]
    return json.dumps([dialogue.id, turns, _of_picture(dialogue)]).encode()


def _of_picture(dialogue: Dialogue) -> str:
    """By the file it is read from where there is one: decoding a video takes much longer than reading it."""
    if isinstance(dialogue.load, PictureFile):
        return of_file(dialogue.load.file)
    image = dialogue.image
    return _of_parts([f"{image.mode} {image.size}".encode(), image.tobytes()])


def _of_parts(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return DIGEST + digest.hexdigest()


def short_name(fields: Fields) -> str:
    """Sixteen characters that stand for the fields in a folder's name.

    Args:
        fields: data that JSON can hold.
    """
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def refusal(folder: Path, stored: Any, present: Fields) -> str:
    """Why a folder cannot go on with a run, as a sentence; empty where it can.

    Args:
        folder: of results.
        stored: the fields that were written there.
        present: those of the run that is to go on.
    """
    before, now = _flat(stored), _flat(present)
    if before == now:
        return ""
    if lacking := [name for name in now if name not in before]:
        return (
            f"{folder} holds a run of an older version, which did not write down {', '.join(lacking)}; "
            "give another folder."
        )
    differing = [
        _difference(name, before[name], now.get(name)) for name in before if before[name] != now.get(name)
    ]
    return f"{folder} holds a run with {', and '.join(differing)}; give another folder or the same options."


def _flat(fields: Any) -> Fields:
    """Fields as JSON gives them back, those of a field that has some of its own in its place."""
    flat = {}
    for name, value in json.loads(json.dumps(fields)).items() if isinstance(fields, dict) else ():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _difference(name: str, before: Any, now: Any) -> str:
    if str(before).startswith(DIGEST):
        return f"other {name}"
    return f"{name} {_shown(before)}, not {_shown(now)}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, list) else str(value)
