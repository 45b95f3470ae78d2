"""What a checkpoint consists of, so that a model can be made of a file's parts or of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer

from compressor.errors import ModelUnavailableError


@dataclass(frozen=True)
class Parts:
    """The transformers model, its tokenizer and its image processor."""

    hf: nn.Module
    tokenizer: Any
    processor: Any


def load_parts(architecture: Any, source: str | Path, name: str, dtype: torch.dtype) -> Parts:
    """The parts of a checkpoint.

    Args:
        architecture: the class in transformers.
        source: a local directory or a Hub repository.
        name: under which it is known.
        dtype: of the weights.
    Raises:
        OSError, ValueError: as `from_pretrained` does.
        ModelUnavailableError: weights are missing.
    """
    hf, report = architecture.from_pretrained(
        source, dtype=dtype, attn_implementation="sdpa", output_loading_info=True
    )
    if report["missing_keys"]:  # transformers would draw them at random
        raise ModelUnavailableError(
            f"The checkpoint of {name!r} lacks {len(report['missing_keys'])} weights, such as "
            f"{min(report['missing_keys'])}; get a complete copy."
        )
    tokenizer = AutoTokenizer.from_pretrained(source)
    return Parts(hf, tokenizer, AutoImageProcessor.from_pretrained(source, backend="pil"))
