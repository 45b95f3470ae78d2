"""Learned compressor weights on disk: model.safetensors beside a config.json."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressor.errors import ModelMismatchError, ModelUnavailableError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def present(directory: Path) -> bool:
    """Whether a directory holds learned weights.

    Args:
        directory: of the weights.
    """
    return (directory / WEIGHTS).is_file() and (directory / CONFIG).is_file()


def write(directory: Path, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write the parameters and the config that rebuilds their module.

    Args:
        directory: made where it is missing.
        state: the parameters by name.
        config: data that JSON can hold.
    """
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().cpu().contiguous() for name, value in state.items()}, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read(
    directory: Path, *, model_name: str | None, d: int | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config without its provenance, and the parameters.

    Args:
        directory: of the weights.
        model_name: the model to be served; not checked where None.
        d: its width; not checked where None.
    Raises:
        ModelUnavailableError: files are missing or damaged.
        ModelMismatchError: the weights were made for another model or another width.
    """
    try:
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        state = load_file(directory / WEIGHTS)
        config.pop("provenance", None)
        trained_for, width = config["model_name"], config["d"]
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise ModelUnavailableError(
            f"The compressor weights in {directory.name!r} cannot be read: copy or train them again."
        ) from error
    if model_name is not None and trained_for != model_name:
        raise ModelMismatchError(f"These weights were trained for {trained_for!r}, not for {model_name!r}.")
    if d is not None and width != d:
        raise ModelMismatchError(f"These weights read tokens of width {width}, the model's have {d}.")
    return config, state


def fill(module: nn.Module, state: dict[str, Tensor], directory: Path) -> None:
    """Put parameters into a module.

    Args:
        module: built from the config.
        state: the parameters by name.
        directory: of the weights, for the errors.
    Raises:
        ModelUnavailableError: the parameters are not finite.
        ModelMismatchError: names or shapes differ from what the config says.
    """
    if not all(bool(value.isfinite().all()) for value in state.values()):
        raise ModelUnavailableError(
            f"The compressor weights in {directory.name!r} are not finite: train them again."
        )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelMismatchError(
            f"The weights in {directory.name!r} do not fit their config.json."
        ) from error
