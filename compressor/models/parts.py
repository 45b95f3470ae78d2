"""What a checkpoint consists of, so that a model can be made of a file's parts or of others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer


@dataclass(frozen=True)
class Parts:
    """The transformers model, its tokenizer and its image processor."""

    hf: nn.Module
    tokenizer: Any
    processor: Any


def load_parts(architecture: Any, source: str | Path, dtype: torch.dtype) -> Parts:
    """The parts of a checkpoint.

    Args:
        architecture: the class in transformers.
        source: a local directory or a Hub repository.
        dtype: of the weights.
    Raises:
        OSError, ValueError: as `from_pretrained` does.
    """
    return Parts(
        architecture.from_pretrained(source, dtype=dtype, attn_implementation="sdpa"),
        AutoTokenizer.from_pretrained(source),
        AutoImageProcessor.from_pretrained(source, backend="pil"),
    )
