"""What is known of a checkpoint in a directory before it is loaded: its family, and the memory it takes."""

import json
from pathlib import Path
from typing import Any

import torch

from compressor.errors import ModelMismatchError, ModelUnavailableError
from compressor.models.catalog import FAMILIES, ModelCard
from compressor.models.loading.files import stored_bytes
from compressor.models.loading.memory import PACKED_SHARE, number_bytes


def read_config(directory: Path) -> Any:
    """The content of config.json, whatever it is."""
    return json.loads((directory / "config.json").read_text(encoding="utf-8"))


def family_of(directory: Path, name: str) -> str:
    """The family that a checkpoint's config.json names, made of the parts that the family has here.

    Args:
        directory: with at least that file.
        name: to call it in errors.
    Raises:
        ModelUnavailableError: the file cannot be read, or the family is not supported.
        ModelMismatchError: a part is of another kind.
    """
    try:
        config = read_config(directory)
        family = str(config["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"The config.json of {name!r} cannot be read; is it a checkpoint?"
        ) from error
    if family not in FAMILIES:
        known = ", ".join(each.title for each in FAMILIES.values())
        raise ModelUnavailableError(
            f"{name} is of the {family} family, which is not supported; choose a model of {known}."
        )
    for part, expected in FAMILIES[family].parts.items():
        named = config.get(part)
        found = named.get("model_type", expected) if isinstance(named, dict) else expected
        if found != expected:
            raise ModelMismatchError(
                f"The {part} of {name} is of the kind {found!r} and only {expected!r} is supported in "
                f"{FAMILIES[family].title}; choose a checkpoint like those of the list."
            )
    return family


def card_of(directory: Path, name: str) -> ModelCard:
    """A card for a checkpoint; its memory is estimated from the sizes of its files.

    Args and Raises: as of `family_of`.
    """
    family, config = family_of(directory, name), read_config(directory)
    itemsize = 4 if "float32" in (config.get("dtype"), config.get("torch_dtype")) else 2
    numbers = stored_bytes(directory) / itemsize
    return ModelCard(
        name,
        name,
        "A checkpoint on this machine.",
        family,
        repository="",
        licence="",
        image_tokens=0,
        memory_gb=number_bytes(numbers, torch.bfloat16, 0.0) / 1e9,
        four_bit_gb=number_bytes(numbers, torch.bfloat16, PACKED_SHARE) / 1e9,
    )
