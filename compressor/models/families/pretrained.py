"""What a checkpoint consists of, so that a model can be made of a file's parts or of others."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoTokenizer

from compressor.errors import ModelMismatchError, ModelUnavailableError
from compressor.models.loading.files import SAFETENSORS, require_whole, weight_files
from compressor.models.loading.memory import DeviceMap
from compressor.models.loading.placement import require_gpus, require_together
from compressor.models.loading.quantization import quantisation_config, require_cpu_shapes

# in 4-bit, encoder and projector would change what an image's tokens are, and the head the logits
FULL_PRECISION = ("lm_head", "model.vision_tower", "model.multi_modal_projector")
BUFFERS = re.compile(r"(rotary_emb\.inv_freq|position_ids)$")  # that older checkpoints hold


@dataclass(frozen=True)
class PretrainedParts:
    """The transformers model, its tokenizer and its image processor."""

    hf: Any
    tokenizer: Any
    processor: Any


def load_pretrained(
    architecture: Any,
    source: Path,
    device: torch.device,
    dtype: torch.dtype,
    four_bit: bool = False,
    device_map: DeviceMap | None = None,
) -> PretrainedParts:
    """The parts of a checkpoint, in their place.

    Args:
        architecture: the class in transformers.
        source: a local directory with safetensors.
        device: of everything, unless there is a `device_map`.
        dtype: of the weights.
        four_bit: whether the language model's matrices are quantised with bitsandbytes.
        device_map: how to spread over several GPUs.
    Raises:
        OSError, ValueError: as `from_pretrained` does.
        ModelMismatchError: the weights are not those that the config describes, or a CPU cannot compute with
            them in 4 bits.
        ModelUnavailableError: weights are missing or damaged, or the GPUs are too small.
        InvalidOptionError: the device map parts what has to be together.
    """
    for file in weight_files(source, (SAFETENSORS,)):
        require_whole(file)
    hf, report = architecture.from_pretrained(
        source,
        dtype=dtype,
        device_map=device_map or {"": device},
        quantization_config=quantisation_config(dtype, FULL_PRECISION) if four_bit else None,
        attn_implementation="sdpa",
        use_safetensors=True,
        local_files_only=True,
        ignore_mismatched_sizes=True,  # they are refused here, by name
        output_loading_info=True,
    )
    _require_exact(report, source.name)
    if four_bit and hf.device.type == "cpu":
        require_cpu_shapes(hf, source.name)
    if isinstance(device_map, str):
        require_gpus(hf.hf_device_map, source.name)
    require_together(
        parameter
        for name, parameter in hf.model.named_parameters()
        if "embed_tokens" in name or not name.startswith("language_model.")
    )
    # left open, whether a checkpoint's own code may run would be asked on the terminal
    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(
        source, local_files_only=True, trust_remote_code=False, backend="pil"
    )
    return PretrainedParts(hf, tokenizer, processor)


def _require_exact(report: dict[str, Any], name: str) -> None:
    """Refuse weights that transformers would draw at random, cut to size or leave out."""
    extra = sorted(key for key in report["unexpected_keys"] if not BUFFERS.search(key))
    misshapen = sorted(key for key, *_ in report["mismatched_keys"])
    if missing := sorted(report["missing_keys"]):
        raise ModelUnavailableError(
            f"The checkpoint {name!r} lacks {len(missing)} weights, such as {missing[0]}; "
            "get a complete copy."
        )
    if misshapen:
        raise ModelMismatchError(
            f"{misshapen[0]} of the checkpoint {name!r} does not have the shape that its config says; "
            "get config and weights of the same model."
        )
    if extra:
        raise ModelMismatchError(
            f"The checkpoint {name!r} holds {len(extra)} weights that its config has no place for, such as "
            f"{extra[0]}; get config and weights of the same model."
        )
