"""Full-size models with random weights, and no download: time and memory do not depend on the weights.

The sizes are those of the published checkpoints. There is no tokenizer: prompts are random ids.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

import torch

from compressor.errors import ModelUnavailableError, UnknownModelError, log_cause
from compressor.models.base import VisionLanguageModel
from compressor.models.catalog import CARDS, FAMILIES
from compressor.models.families import family_module
from compressor.models.loading.memory import require_memory

Builder = Callable[[str, torch.device, torch.dtype], VisionLanguageModel]


def random_model_names() -> list[str]:
    """The models of the catalog whose family registers an architecture for random weights."""
    return [name for name, card in CARDS.items() if name in _builders(card.family)]


def _builders(family: str) -> Mapping[str, Builder]:
    """The builders in a family's random_weights.py by model name; a family may do without that file."""
    folder = FAMILIES[family].folder
    if find_spec(f"compressor.models.families.{folder}.random_weights") is None:
        return {}
    return family_module(folder, "random_weights").BUILDERS


def random_model(
    name: str, device: str | torch.device | None = None, dtype: torch.dtype | None = None, seed: int = 0
) -> VisionLanguageModel:
    """A model of the catalog at its full size with random weights.

    Args:
        name: of the catalog; its family registers the architecture (`random_model_names`).
        device: CUDA where there is one, else the CPU, if None; "meta" makes no weights at all.
        dtype: bfloat16 if None.
        seed: of the weights.
    Raises:
        UnknownModelError: no architecture is registered for this name.
        ModelUnavailableError: there is not enough memory.
    """
    builder = _builders(CARDS[name].family).get(name) if name in CARDS else None
    if builder is None:
        raise UnknownModelError(
            f"No architecture is registered for {name!r}; choose one of {', '.join(random_model_names())}, "
            "or leave random weights out."
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or torch.bfloat16
    if device.type != "meta":
        require_memory(CARDS[name], device, dtype)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return builder(name, device, dtype)
    except (MemoryError, torch.OutOfMemoryError) as error:
        log_cause(f"Making {name}", error)
        raise ModelUnavailableError(
            f"There is not enough memory for {name!r}; use a smaller model."
        ) from error
