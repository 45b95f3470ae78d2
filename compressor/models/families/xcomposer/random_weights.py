"""The published sizes of InternLM-XComposer-2.5, for a model with random weights."""

from functools import partial
from typing import Any

import torch

from compressor.models.families.xcomposer.model import XComposer
from compressor.models.families.xcomposer.network import XComposerNetwork

INTERNLM2_7B = {  # with the context of the language model as published on its own
    "vocab_size": 92544,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
SPREAD = 0.02  # standard deviation of weights, transformers' default


def build(config: dict[str, Any], name: str, device: torch.device, dtype: torch.dtype) -> XComposer:
    """An InternLM-XComposer-2.5 with random weights and no tokenizer.

    Args:
        config: as of a checkpoint.
        name: of the model.
        device: of the weights.
        dtype: of the weights.
    """
    network = XComposerNetwork(config)
    for key, parameter in list(network.named_parameters()):
        weight = torch.empty(parameter.shape, device=device, dtype=dtype)
        if weight.ndim > 1 or not key.endswith((".weight", ".bias")):
            weight.normal_(std=SPREAD)
        else:  # of a norm, or a bias
            weight.fill_(key.endswith(".weight"))
        network.set_tensor(key, weight)
    for key, buffer in list(network.named_buffers()):
        network.set_tensor(key, buffer.to(device))
    return XComposer(network.eval(), name=name, context_length=config["max_position_embeddings"])


BUILDERS = {"xcomposer-2.5-7b": partial(build, INTERNLM2_7B)}
