"""The models by name: adding one is a module beside this one and an entry here."""

import json
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from compressor.errors import ModelError, ModelUnavailableError, UnknownModelError
from compressor.models.base import VisionLanguageModel

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"


@dataclass(frozen=True)
class Family:
    """Models of one kind: `home` is "module:loader" beside this one."""

    title: str
    home: str


FAMILIES = {
    "llava": Family("LLaVA-1.5", "llava:Llava"),
    "llava_next": Family("LLaVA-NeXT", "llava_next:LlavaNext"),
    "internlm2": Family("InternLM-XComposer-2.5", "xcomposer:load"),
}


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model before it is loaded.

    Args:
        name: in this catalog.
        title: to show.
        description: one or two sentences.
        family: its `model_type` in config.json.
        repository: on the Hub; empty for the bundled model.
        licence: of the weights.
        image_tokens: n for one image; the largest usual number where it depends on the image.
        memory_gb: of the weights, in the precision they are loaded in on a GPU (16 bit).
        notice: what a person should know before judging the answers; may be empty.
    """

    name: str
    title: str
    description: str
    family: str
    repository: str
    licence: str
    image_tokens: int
    memory_gb: float
    notice: str = ""


_LLAMA_2 = "Llama 2 Community License"
CARDS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            "tiny",
            "Tiny LLaVA (bundled)",
            "A LLaVA of a few million parameters that knows a generated world of emoji. Runs anywhere.",
            "llava",
            "",
            "Apache-2.0",
            256,
            0.01,
            "This model knows only its own world, generated scenes of emoji on discs: "
            "what it says about a photograph means nothing.",
        ),
        ModelCard(
            "llava-1.5-7b",
            "LLaVA-1.5 7B",
            "The model of most of the paper's tables. Needs a GPU, or patience and memory.",
            "llava",
            "llava-hf/llava-1.5-7b-hf",
            _LLAMA_2,
            576,
            14.1,
        ),
        ModelCard(
            "llava-1.5-13b",
            "LLaVA-1.5 13B",
            "The larger LLaVA-1.5. Needs a large GPU.",
            "llava",
            "llava-hf/llava-1.5-13b-hf",
            _LLAMA_2,
            576,
            26.7,
        ),
        ModelCard(
            "llava-next-7b",
            "LLaVA-NeXT 7B",
            "Sees an image in up to five tiles. Needs a GPU.",
            "llava_next",
            "llava-hf/llava-v1.6-vicuna-7b-hf",
            _LLAMA_2,
            2880,
            14.1,
        ),
        ModelCard(
            "llava-next-13b",
            "LLaVA-NeXT 13B",
            "The larger LLaVA-NeXT. Needs a large GPU.",
            "llava_next",
            "llava-hf/llava-v1.6-vicuna-13b-hf",
            _LLAMA_2,
            2880,
            26.7,
        ),
        ModelCard(
            "xcomposer-2.5-7b",
            "InternLM-XComposer-2.5 7B",
            "Sees an image in tiles of 560 px. Needs a GPU.",
            "internlm2",
            "internlm/internlm-xcomposer2d5-7b",
            "other (see the model page)",
            10000,
            17.4,
        ),
    )
}


def list_models() -> list[ModelCard]:
    """The cards of all models in the catalog, the bundled one first."""
    return list(CARDS.values())


def load_model(
    name: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> VisionLanguageModel:
    """Load a model for inference.

    Args:
        name: of the catalog, or a local directory with a checkpoint.
        device: CUDA where there is one, else the CPU, if None.
        dtype: float32 on the CPU and float16 elsewhere if None.
    Raises:
        UnknownModelError: neither a catalog name nor a directory.
        ModelUnavailableError: its files are missing or damaged, there is no network or not enough memory, or
            its family is not supported.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.float16)
    card = CARDS.get(str(name))
    if card is None:
        return _load_directory(Path(name), Path(name).name, device, dtype)
    _require_family(card.family, card.title)
    if not card.repository:
        return _load_directory(MODELS / card.name, card.name, device, dtype, known=True)
    require_memory(card, device, dtype)
    return _load(card.family, card.repository, card.name, device, dtype)


def _load_directory(
    directory: Path, name: str, device: torch.device, dtype: torch.dtype, *, known: bool = False
) -> VisionLanguageModel:
    config = directory / "config.json"
    if known and not config.is_file():
        raise ModelUnavailableError(
            f"The files of the model {name!r} are missing from {directory.parent.name}/{name}; "
            "get a complete copy of the project."
        )
    if not config.is_file():
        names = ", ".join(CARDS)
        raise UnknownModelError(
            f"There is no model {name!r}; choose one of {names}, or a checkpoint's directory."
        )
    try:
        family = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(
            f"The config.json in {name!r} cannot be read; is it a checkpoint?"
        ) from error
    _require_family(family, name)
    return _load(family, directory, name, device, dtype)


def _load(
    family: str, source: str | Path, name: str, device: torch.device, dtype: torch.dtype
) -> VisionLanguageModel:
    module, _, attribute = FAMILIES[family].home.partition(":")
    # transformers takes seconds to import: only when a model is loaded
    model_class = getattr(import_module(f"compressor.models.{module}"), attribute)
    try:
        return model_class(source, name=name, device=device, dtype=dtype)
    except ModelError:
        raise
    except (OSError, ValueError, ImportError) as error:
        place = "the network or the disk" if isinstance(source, str) else "the directory"
        raise ModelUnavailableError(
            f"The model {name!r} could not be loaded; "
            f"check that {place} holds a complete {FAMILIES[family].title} checkpoint."
        ) from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelUnavailableError(
            f"There is not enough memory for {name!r}; use a smaller model."
        ) from error


def _require_family(family: str, title: str) -> None:
    if family not in FAMILIES:
        known = ", ".join(each.title for each in FAMILIES.values())
        raise ModelUnavailableError(
            f"{title} is of the {family} family, which is not supported; choose a model of {known}."
        )


def require_memory(card: ModelCard, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse before a download what cannot fit: `memory_gb` counts two bytes a parameter."""
    needed = card.memory_gb * 1e9 * dtype.itemsize / 2
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf"):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return
    if needed > there:
        raise ModelUnavailableError(
            f"{card.title} needs {needed / 1e9:.0f} GB of memory and this machine has {there / 1e9:.0f} GB; "
            "use a smaller model or a larger machine."
        )
