"""Where the modules of a network go: on one device, or spread over several GPUs under accelerate's hooks.

The names and their meaning are those of transformers, which does this by itself for the models that it loads.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from compressor.errors import InvalidOptionError, ModelUnavailableError
from compressor.models.loading.memory import DeviceMap
from compressor.models.loading.quantization import is_four_bit

Places = Mapping[str, int | str | torch.device]


def places(
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    device_map: DeviceMap | None,
    whole: list[str],
) -> Places:
    """The device of every module of a network that has no weights yet, by the start of its name.

    Args:
        network: on "meta".
        device: of everything, unless there is a `device_map`.
        dtype: of the weights that are not in 4 bits.
        device_map: as for `load_model`.
        whole: classes of modules that stay on one device.
    Raises:
        InvalidOptionError: the map does not say where a module goes.
    """
    if device_map is None:
        return {"": device}
    if isinstance(device_map, str):
        return _inferred(network, dtype, device_map, whole)
    names = [name for name, _ in network.named_parameters()]
    for name in names:
        if _entry(name, device_map) is None:
            raise InvalidOptionError(f"The device map does not say where {name} goes; add its module.")
    # what reads a buffer brings it along; the first weights are where the inputs are
    first = device_map[_entry(names[0], device_map)]
    buffers = [name for name, _ in network.named_buffers() if _entry(name, device_map) is None]
    unnamed = [name.rpartition(".")[0] for name in buffers]  # modules, as accelerate takes no other names
    return {**device_map, **dict.fromkeys(unnamed, first)}


def _inferred(network: nn.Module, dtype: torch.dtype, strategy: str, whole: list[str]) -> Places:
    from accelerate import infer_auto_device_map
    from accelerate.utils import CustomDtype, get_balanced_memory

    sizes = {
        "no_split_module_classes": whole,
        "dtype": dtype,
        "special_dtypes": {
            name: CustomDtype.INT4 for name, each in network.named_parameters() if is_four_bit(each)
        },
    }
    memory = None
    if strategy != "sequential":
        memory = get_balanced_memory(network, low_zero=strategy == "balanced_low_0", **sizes)
    return infer_auto_device_map(network, max_memory=memory, **sizes)


def place_of(name: str, found: Places) -> torch.device:
    """The device of a parameter or buffer, whose own entry goes before that of a module around it."""
    return torch.device(found[_entry(name, found)])


def _entry(name: str, found: Places) -> str | None:
    parts = name.split(".")
    return next((key for end in range(len(parts), -1, -1) if (key := ".".join(parts[:end])) in found), None)


def spread(network: nn.Module, found: Places) -> None:
    """Have every call of a module bring its inputs where its weights are, if not all are on one device."""
    if len(set(found.values())) > 1:
        from accelerate import dispatch_model

        dispatch_model(network, found, skip_keys=["cache"])


def require_gpus(found: Places, name: str) -> None:
    """Refuse places that were inferred outside the GPUs, for want of memory on them.

    Args:
        found: of all modules.
        name: of the model.
    Raises:
        ModelUnavailableError: some are elsewhere.
    """
    if {"cpu", "disk"} & set(map(str, found.values())):
        raise ModelUnavailableError(
            f"The GPUs are too small for {name!r}; use a smaller model or 4-bit weights."
        )


def require_together(weights: Iterable[Tensor]) -> None:
    """Refuse weights on several devices: image and text tokens meet where the embeddings are.

    Args:
        weights: all that an image's tokens pass before the decoder's layers, and the table of embeddings.
    Raises:
        InvalidOptionError: the device map parts them.
    """
    if len({weight.device for weight in weights}) > 1:
        raise InvalidOptionError(
            "The device map splits the vision encoder, projector and embeddings; put them on one device."
        )
