"""What this machine can hold: whether a model of the catalog fits, and if not why."""

import gc
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from compressor.errors import InvalidOptionError, ModelUnavailableError, NoMemoryLeftError
from compressor.models.catalog import FAMILIES, ModelCard
from compressor.models.loading import container, hub
from compressor.models.loading.files import stored_bytes

DeviceMap = str | Mapping[str, int | str]
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")  # of device maps, by their names
# of a matrix in 4 bits, per number: itself, a byte of scale for 64, and 4 of that scale's own for 256 of them
PACKED_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)
PACKED_SHARE = 0.8  # of a model's numbers, those in such matrices, at least
BITSANDBYTES = "pip install 'bitsandbytes>=0.46.1,<0.51'"


@dataclass(frozen=True)
class Placement:
    """Where and how a model computes.

    Args:
        device: of everything, unless there is a `device_map`.
        dtype: of the weights that are not in 4 bits.
        four_bit: whether the language model's matrices are quantised.
        device_map: as for `load_model`.
    """

    device: torch.device
    dtype: torch.dtype
    four_bit: bool = False
    device_map: DeviceMap | None = None


@dataclass(frozen=True)
class MemoryCheck:
    """Whether a model can be loaded here, and a sentence: why not, or what its loading takes."""

    fits: bool
    sentence: str


def check_memory(
    card: ModelCard,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    four_bit: bool = False,
    device_map: DeviceMap | None = None,
) -> MemoryCheck:
    """Whether this machine can load a model; looks at no network.

    Args:
        card: of the model.
        device: as for `load_model`.
        dtype: as for `load_model`.
        four_bit: as for `load_model`.
        device_map: as for `load_model`.
    Raises:
        InvalidOptionError, ModelUnavailableError: there is no such device.
    """
    device = choose_device(device)
    dtype = dtype or default_dtype(device)
    refusal = lacking_requirements(card.family, four_bit, device_map) or lacking_memory(
        card, device, dtype, four_bit=four_bit, spread=device_map is not None
    )
    if refusal:
        return MemoryCheck(False, refusal)
    files = FAMILIES[card.family].files
    if not card.repository or hub.cached(card.repository, card.revision, files):
        return MemoryCheck(True, "Its files are here.")
    part = hub.cached_part(card.repository, card.revision)
    left = card.memory_gb - (stored_bytes(part) / 1e9 if part else 0.0)
    free = disk_free(hub.cache_directory()) / 1e9
    if free < left:
        return MemoryCheck(
            False,
            f"{card.title} is a download of about {left:.1f} GB and the disk has {free:.1f} GB left; "
            "make room, or let HF_HOME name a larger disk.",
        )
    if part:
        rest = f"about {max(left, 0.0):.1f} GB"
        return MemoryCheck(
            True, f"A part of its files is here; the rest, {rest}, is downloaded when it is first loaded."
        )
    return MemoryCheck(True, f"It is downloaded when it is first loaded, about {left:.1f} GB.")


def best_load_options(card: ModelCard) -> tuple[MemoryCheck, dict[str, Any]]:
    """How this machine holds a model at best: as it is, over several GPUs, or in a smaller precision.

    Returns:
        whether it fits; and the options of `load_model` for it.
    """
    report = check_memory(card)
    for load_options in [] if report.fits else _fallback_load_options():
        other = check_memory(card, **load_options)
        if other.fits:
            return other, load_options
    return report, {}


def _fallback_load_options() -> list[dict[str, Any]]:
    """Options of `load_model` by which a model takes less memory, the most faithful first."""
    if not torch.cuda.is_available():  # a CPU would compute with 4-bit weights, but for minutes
        return [{"dtype": torch.bfloat16}]
    spread, packed = {"device_map": "auto"}, {"four_bit": True}
    return [spread, packed, spread | packed] if torch.cuda.device_count() > 1 else [packed]


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device of this name; CUDA where there is one, else the CPU, if None.

    Raises:
        InvalidOptionError: it is no device's name.
        ModelUnavailableError: there is none of the kind here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InvalidOptionError(
            f"{device!r} is not a valid device (for example cuda, cuda:1, cpu)."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelUnavailableError(f"There is no {device} on this machine; use the CPU or leave it out.")
    return device


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that computes in it, float16 on others, float32 on the CPU."""
    if device.type == "cpu":
        return torch.float32
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def require_device_map(device_map: DeviceMap | None) -> None:
    """Refuse a device map that places no model.

    Raises:
        InvalidOptionError: a name that is no strategy, or a mapping to what is no device, or to GPUs and CPU.
        ModelUnavailableError: a mapping to a device that is not here.
    """
    if isinstance(device_map, str):
        if device_map not in STRATEGIES:
            raise InvalidOptionError(
                f"Unknown device map {device_map!r}; choose one of {', '.join(STRATEGIES)}."
            )
        return
    found = [
        choose_device(f"cuda:{each}" if isinstance(each, int) else each)
        for each in (device_map or {}).values()
    ]
    if len({device.type for device in found}) > 1:
        raise InvalidOptionError("CPU offloading is not supported; remove the CPU from the device map.")


def lacking_requirements(family: str, four_bit: bool, device_map: DeviceMap | None) -> str:
    """What this machine lacks to load a model with certain options, whatever its size, as a sentence.

    Args:
        family: of the catalog.
        four_bit: as for `load_model`.
        device_map: as for `load_model`.
    Returns:
        what is missing, a package with its pip line; empty where all is there.
    """
    if isinstance(device_map, str) and not torch.cuda.is_available():
        return "There is no GPU to spread a model over; leave the device map out."
    for package in FAMILIES[family].packages:
        if find_spec(package) is None:
            return f"{FAMILIES[family].title} needs {package}: pip install {package}."
    if four_bit and find_spec("bitsandbytes") is None:
        return f"4-bit weights need bitsandbytes: {BITSANDBYTES}."
    return ""


def lacking_memory(
    card: ModelCard,
    device: torch.device,
    dtype: torch.dtype,
    *,
    four_bit: bool = False,
    spread: bool = False,
) -> str:
    """A sentence that says how much memory the weights need and this machine has; empty where it is enough.

    Args:
        card: of the model.
        device: that it is loaded on.
        dtype: of the weights.
        four_bit: whether the language model's matrices are quantised.
        spread: over all GPUs.
    """
    needed = weight_bytes(card, dtype, four_bit)
    _, there = memory(device, spread)
    if needed <= there:
        return ""
    precision = "4-bit" if four_bit else str(dtype).removeprefix("torch.")
    where = "this machine has" if device.type == "cpu" else "the GPUs have" if spread else "the GPU has"
    instead = "use a smaller model or a larger machine"
    halved, packed = weight_bytes(card, torch.bfloat16), weight_bytes(card, dtype, four_bit=True)
    if device.type == "cuda" and not four_bit and packed <= there:
        package = "" if find_spec("bitsandbytes") else f", which needs {BITSANDBYTES}"
        instead = f"load it in 4-bit, about {packed / 1e9:.1f} GB{package}, or use a smaller model"
    elif device.type == "cpu" and not four_bit and halved < needed and halved <= there:
        instead = f"it would fit with --dtype bfloat16, about {halved / 1e9:.1f} GB, or use a smaller model"
    return (
        f"{card.title} needs about {needed / 1e9:.1f} GB of memory in {precision} and {where} "
        f"{there / 1e9:.1f} GB; {instead}."
    )


def weight_bytes(card: ModelCard, dtype: torch.dtype, four_bit: bool = False) -> float:
    """Bytes that the weights of a model take, as estimated on its card."""
    share = 0.0
    if four_bit and card.four_bit_gb is not None:
        share = (1 - card.four_bit_gb / card.memory_gb) / (1 - PACKED_BYTES / 2)
    return number_bytes(card.memory_gb / 2 * 1e9, dtype, share)


def number_bytes(numbers: float, dtype: torch.dtype, packed_share: float) -> float:
    """Bytes of so many weights, a share of them in 4 bits and the rest in a dtype."""
    return numbers * (packed_share * PACKED_BYTES + (1 - packed_share) * dtype.itemsize)


def require_memory(card: ModelCard, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse what cannot fit; arguments as of `lacking_memory`.

    Raises:
        ModelUnavailableError: the machine has too little memory.
    """
    if refusal := lacking_memory(card, device, dtype):
        raise ModelUnavailableError(refusal)


def require_free(needed: float, name: str, device: torch.device, spread: bool = False) -> None:
    """Refuse weights that the memory left over cannot take: on a CPU nothing would catch that later.

    Args:
        needed: bytes.
        name: of the model.
        device: where they go.
        spread: whether over all GPUs.
    Raises:
        NoMemoryLeftError: other models or programs hold the memory.
    """
    free, _ = memory(device, spread)
    if needed > free:
        gc.collect()  # a model that nobody uses any more may still be there
        if device.type == "cuda":
            torch.cuda.empty_cache()
        free, _ = memory(device, spread)
    if needed > free:
        raise NoMemoryLeftError(
            f"{name} needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free; "
            "unload other models, close what uses the rest, or use a smaller model."
        )


def memory(device: torch.device, spread: bool = False) -> tuple[int, int]:
    """Bytes that are free, and bytes in all: of a GPU, of all GPUs together, or of the machine."""
    if device.type == "cuda":
        devices = range(torch.cuda.device_count()) if spread else [device]
        frees, totals = zip(*(torch.cuda.mem_get_info(each) for each in devices), strict=True)
        return sum(frees), sum(totals)
    import psutil

    found, (free, total) = psutil.virtual_memory(), container.memory()
    return int(min(found.available, free)), int(min(found.total, total))


def disk_free(directory: Path) -> int:
    """Bytes free where a directory is or would be."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
