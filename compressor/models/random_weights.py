"""Full-size models with random weights, and no download: time and memory do not depend on the weights.

The sizes are those of the published checkpoints. There is no tokenizer: prompts are random ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch

from compressor.errors import ModelUnavailableError, UnknownModelError, log_cause
from compressor.models.base import VisionLanguageModel
from compressor.models.catalog import CARDS
from compressor.models.loading.memory import require_memory

VICUNA = {"vocab_size": 32064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
VICUNA_7B = {
    **VICUNA,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
VICUNA_13B = {
    **VICUNA,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
}
CLIP_L_336 = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
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
FURTHER_IDS = 64  # that LLaVA adds to Vicuna's; the first stands for the image
Builder = Callable[[str, torch.device, torch.dtype], VisionLanguageModel]


@dataclass(frozen=True)
class NoTokenizer:
    """In a tokenizer's place, where all there is to say is which id ends an answer."""

    eos_token_id: int


def clip_llava(
    home: str,
    config: str,
    architecture: str,
    processor: str,
    text: dict[str, Any],
    vision: dict[str, Any],
    name: str,
    device: torch.device,
    dtype: torch.dtype,
) -> VisionLanguageModel:
    """A model of CLIP, a projector and a Llama.

    Args:
        home: "module:class" of its family beside this module.
        config, architecture, processor: classes of transformers.
        text, vision: sizes of the language model and of the encoder.
        name, device, dtype: as of `random_model`.
    """
    import transformers

    from compressor.models.families.pretrained import Parts

    module, _, family = home.partition(":")
    made = getattr(transformers, config)(
        text_config=transformers.LlamaConfig(**text),
        vision_config=transformers.CLIPVisionConfig(**vision),
        image_token_index=text["vocab_size"] - FURTHER_IDS,
    )
    with torch.device(device):  # made where it stays, with the initialisation of its own code
        hf = getattr(transformers, architecture)._from_config(made, dtype=dtype, attn_implementation="sdpa")
    side = vision["image_size"]
    view = getattr(transformers, processor)(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    parts = Parts(hf, NoTokenizer(made.text_config.eos_token_id), view)
    model_class = getattr(import_module(f"compressor.models.families.{module}"), family)
    return model_class(parts, name=name, device=device, dtype=dtype)


def xcomposer(
    config: dict[str, Any], name: str, device: torch.device, dtype: torch.dtype
) -> VisionLanguageModel:
    """An InternLM-XComposer-2.5, without a tokenizer.

    Args:
        config: as of a checkpoint.
        name, device, dtype: as of `random_model`.
    """
    from compressor.models.families.xcomposer.model import XComposer
    from compressor.models.families.xcomposer.network import XComposerNetwork

    network = XComposerNetwork(config)
    for key, parameter in list(network.named_parameters()):
        made = torch.empty(parameter.shape, device=device, dtype=dtype)
        if made.ndim > 1 or not key.endswith((".weight", ".bias")):
            made.normal_(std=SPREAD)
        else:  # of a norm, or a bias
            made.fill_(key.endswith(".weight"))
        network.give(key, made)
    for key, buffer in list(network.named_buffers()):
        network.give(key, buffer.to(device))
    return XComposer(network.eval(), name=name, context_length=config["max_position_embeddings"])


llava = partial(
    clip_llava, "llava.model:Llava", "LlavaConfig", "LlavaForConditionalGeneration", "CLIPImageProcessorPil"
)
llava_next = partial(
    clip_llava,
    "llava_next.model:LlavaNext",
    "LlavaNextConfig",
    "LlavaNextForConditionalGeneration",
    "LlavaNextImageProcessorPil",
)
BUILDERS: dict[str, Builder] = {
    "llava-1.5-7b": partial(llava, VICUNA_7B, CLIP_L_336),
    "llava-1.5-13b": partial(llava, VICUNA_13B, CLIP_L_336),
    "llava-next-7b": partial(llava_next, VICUNA_7B, CLIP_L_336),
    "llava-next-13b": partial(llava_next, VICUNA_13B, CLIP_L_336),
    "xcomposer-2.5-7b": partial(xcomposer, INTERNLM2_7B),
}


def random_model(
    name: str, device: str | torch.device | None = None, dtype: torch.dtype | None = None, seed: int = 0
) -> VisionLanguageModel:
    """A model of the catalog at its full size with random weights.

    Args:
        name: one of `BUILDERS`.
        device: CUDA where there is one, else the CPU, if None; "meta" makes no weights at all.
        dtype: bfloat16 if None.
        seed: of the weights.
    Raises:
        UnknownModelError: there are no sizes for this name.
        ModelUnavailableError: there is not enough memory.
    """
    if name not in BUILDERS:
        raise UnknownModelError(
            f"There are no sizes to give {name!r} random weights; choose one of {', '.join(BUILDERS)}, "
            "or leave random weights out."
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or torch.bfloat16
    if device.type != "meta":
        require_memory(CARDS[name], device, dtype)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return BUILDERS[name](name, device, dtype)
    except (MemoryError, torch.OutOfMemoryError) as error:
        log_cause(f"Making {name}", error)
        raise ModelUnavailableError(
            f"There is not enough memory for {name!r}; use a smaller model."
        ) from error
