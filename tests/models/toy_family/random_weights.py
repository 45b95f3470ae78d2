"""The sizes of the toy model, for one with random weights."""

import torch
from compressor.models.families.toy_family.model import ToyModel

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIG = {"model_type": "toy", "text_config": {**SIZES, "max_position_embeddings": 512}}


def build(name: str, device: torch.device, dtype: torch.dtype) -> ToyModel:
    """Called by `random_model`."""
    return ToyModel(CONFIG, name=name, device=device, dtype=dtype)


BUILDERS = {"toy-1": build}
