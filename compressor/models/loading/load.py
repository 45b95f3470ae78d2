"""Loading a model by name, from a directory or from the Hub; a failure is a sentence that says what to do."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from compressor.assets import ASSETS
from compressor.errors import (
    ModelError,
    ModelUnavailableError,
    NoMemoryLeftError,
    StudioError,
    UnknownModelError,
    log_cause,
)
from compressor.models.base import VisionLanguageModel
from compressor.models.catalog import CARDS, FAMILIES, ModelCard
from compressor.models.families import family_module
from compressor.models.loading import hub, memory
from compressor.models.loading.checkpoint import card_of, family_of
from compressor.models.loading.files import damaged
from compressor.models.loading.hub import Progress
from compressor.models.loading.memory import DeviceMap, Placement
from compressor.models.loading.repository_files import CONFIG

MODELS = ASSETS / "models"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
DOWNLOAD = 0.8  # share of the progress; the rest is reading the weights


def load_model(
    name: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    four_bit: bool = False,
    device_map: DeviceMap | None = None,
    allow_hub: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> VisionLanguageModel:
    """Load a model for inference; no code of a checkpoint is executed.

    Args:
        name: of the catalog, or a local directory with a checkpoint.
        device: CUDA where there is one, else the CPU, if None.
        dtype: bfloat16 on a GPU that computes in it, float16 on others and float32 on the CPU if None.
        four_bit: quantise the language model's matrices with bitsandbytes (NF4); the rest keeps `dtype`.
        device_map: how to spread over several GPUs, "auto", "balanced", "balanced_low_0" or "sequential", or
            a device for every module; everything on `device` if None.
        allow_hub: whether `name` may also be any Hub repository of a supported family. For people at their
            own machine: whoever else can choose names would choose what is downloaded.
        progress: called with the share done, in [0, 1], and a sentence.
        options: of its family, such as `crop` of LLaVA-1.5 (`catalog.FAMILIES`).
    Raises:
        UnknownModelError: neither a catalog name nor a directory.
        ModelUnavailableError: its files are missing or damaged, there is no network, memory or package for
            it, or its family is not supported.
        ModelMismatchError: its weights are not those that its config describes.
        InvalidOptionError: there is no device or device map of this name, or its family has no
            such option or value.
    """
    try:
        device = memory.choose_device(device)
        memory.require_device_map(device_map)
        placement = Placement(device, dtype or memory.default_dtype(device), four_bit, device_map)
        return _find_and_load(name, placement, options, allow_hub, progress)
    except StudioError as error:
        log_cause(f"Loading {name}", error)
        raise


def _find_and_load(
    name: str | Path,
    placement: Placement,
    options: dict[str, Any],
    allow_hub: bool,
    progress: Progress | None,
) -> VisionLanguageModel:
    report = progress or (lambda share, sentence: None)
    card = CARDS.get(str(name))
    if card is not None:
        directory, title = _of_card(card, placement, options, progress), card.title
    elif (Path(name) / "config.json").is_file():
        directory, title = Path(name), Path(name).resolve().name
    elif allow_hub and HUB_ID.fullmatch(str(name)) and not Path(name).exists():
        directory, title = _of_repository(str(name), placement, options, progress), str(name)
    else:
        raise _unknown(Path(name))
    report(DOWNLOAD, f"Reading the weights of {title}")
    model = _load(directory, card.name if card else Path(title).name, placement, options)
    model.directory, model.revision = directory, _revision(directory)
    report(1.0, f"{title} is ready")
    return model


def _of_card(
    card: ModelCard, placement: Placement, options: dict[str, Any], progress: Progress | None
) -> Path:
    """The directory of a model of the catalog, downloaded only if it fits."""
    FAMILIES[card.family].require_options(options)
    if not card.repository:
        if not (MODELS / card.name / "config.json").is_file():
            raise ModelUnavailableError(
                f"The files of the model {card.name!r} are missing from {MODELS.name}/{card.name}; "
                "get a complete copy of the project."
            )
        return MODELS / card.name
    report = memory.check_memory(card, **vars(placement))
    if not report.fits:
        raise ModelUnavailableError(report.sentence)
    needed = memory.weight_bytes(card, placement.dtype, placement.four_bit)
    memory.require_free(needed, card.title, placement.device, placement.device_map is not None)
    return hub.fetch(
        card.repository, card.revision, FAMILIES[card.family].files, progress and _first_part(progress)
    )


def _of_repository(
    repository: str, placement: Placement, options: dict[str, Any], progress: Progress | None
) -> Path:
    """The directory of any Hub repository of a supported family; its config tells the family first."""
    family = family_of(hub.fetch(repository, None, CONFIG), repository)
    _require(family, placement, options)
    return hub.fetch(repository, None, FAMILIES[family].files, progress and _first_part(progress))


def _first_part(progress: Progress) -> Progress:
    return lambda share, sentence: progress(DOWNLOAD * share, sentence)


def _unknown(path: Path) -> ModelError:
    if path.is_dir() and path.name:
        return ModelUnavailableError(
            f"There is no config.json in {str(path)!r}: it is no checkpoint, or its download is not finished."
        )
    return UnknownModelError(
        f"There is no model {str(path)!r}; choose one of {', '.join(CARDS)}, or a checkpoint's directory."
    )


def _require(family: str, placement: Placement, options: dict[str, Any]) -> None:
    """Refuse what a family does not offer or this machine does not have, before anything large is read."""
    FAMILIES[family].require_options(options)
    if refusal := memory.lacking_requirements(family, placement.four_bit, placement.device_map):
        raise ModelUnavailableError(refusal)


def _load(directory: Path, name: str, placement: Placement, options: dict[str, Any]) -> VisionLanguageModel:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    card = card_of(directory, name)
    _require(card.family, placement, options)
    _require_room(card, placement)
    _require_json(directory)
    try:
        load = family_module(FAMILIES[card.family].folder, "model").load
        return load(directory, name=name, **vars(placement)).variant(**options)
    except StudioError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise NoMemoryLeftError(
            f"There is not enough memory for {name!r}; unload other models, or use a smaller one."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        raise _unreadable(directory, card.family) from error
    except (SafetensorError, StrictDataclassError) as error:
        raise _unreadable(directory, card.family) from error


def _unreadable(directory: Path, family: str) -> ModelUnavailableError:
    if any('"auto_map"' in file.read_text(encoding="utf-8") for file in directory.glob("*config.json")):
        return ModelUnavailableError(
            f"The model in {directory.name!r} needs code of its own, which is never run here; "
            "use a checkpoint that needs none."
        )
    return ModelUnavailableError(
        f"The model in {directory.name!r} could not be loaded; "
        f"check that the directory holds a complete {FAMILIES[family].title} checkpoint."
    )


def _require_room(card: ModelCard, placement: Placement) -> None:
    """On a CPU the system ends a process that takes too much; a GPU raises an error of its own."""
    if placement.device.type != "cpu":
        return
    needed = memory.weight_bytes(card, placement.dtype, placement.four_bit)
    memory.require_free(needed, repr(card.name), placement.device)


def _require_json(directory: Path) -> None:
    """Readers of these files have no error of their own for one that was cut off."""
    for file in sorted(directory.glob("*.json")):
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise damaged(file) from error


def _revision(directory: Path) -> str | None:
    """The commit of a downloaded checkpoint, whose directory is named after it."""
    return directory.name if directory.parent.name == "snapshots" else None
