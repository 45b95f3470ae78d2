"""Random weights of the LLaVA families: the published sizes of Vicuna and CLIP, without files."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig

from compressor.models.families.clip_llava import ClipLlava
from compressor.models.families.pretrained import PretrainedParts

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
FURTHER_IDS = 64  # that LLaVA adds to Vicuna's; the first stands for the image


@dataclass(frozen=True)
class NoTokenizer:
    """In a tokenizer's place, where all there is to say is which id ends an answer."""

    eos_token_id: int


def random_clip_llava(
    model_class: type[ClipLlava],
    config_class: Any,
    processor_class: Any,
    text: dict[str, Any],
    vision: dict[str, Any],
    name: str,
    device: torch.device,
    dtype: torch.dtype,
) -> ClipLlava:
    """A model of CLIP, a projector and a Llama, with random weights.

    Args:
        model_class: of the family here.
        config_class: of the family in transformers.
        processor_class: of the family in transformers.
        text: sizes of the language model.
        vision: sizes of the encoder.
        name: of the model.
        device: of the weights.
        dtype: of the weights.
    """
    config = config_class(
        text_config=LlamaConfig(**text),
        vision_config=CLIPVisionConfig(**vision),
        image_token_index=text["vocab_size"] - FURTHER_IDS,
    )
    with torch.device(device):  # made where it stays, with the initialisation of its own code
        hf = model_class.architecture._from_config(config, dtype=dtype, attn_implementation="sdpa")
    side = vision["image_size"]
    processor = processor_class(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    parts = PretrainedParts(hf, NoTokenizer(config.text_config.eos_token_id), processor)
    return model_class(parts, name=name, device=device, dtype=dtype)
