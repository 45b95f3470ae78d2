"""The modules of InternLM-XComposer-2.5, put together from transformers' Llama and CLIP."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from compressor.errors import ModelMismatchError
from compressor.models.families.xcomposer.partial_lora import partial_lora_llama, quantise_bases
from compressor.models.loading.quantization import is_four_bit, quantised

NEEDED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)
RANK = 256  # of the published model, whose code states it but whose config does not
TOWER = {  # CLIP ViT-L/14 at 560 px, likewise
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 560,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def language_config(config: dict[str, Any]) -> LlamaConfig:
    """The Llama that computes what the checkpoint's InternLM2 does.

    Dynamic scaling changes positions only beyond `max_position_embeddings`, where no chat gets.

    Raises:
        ModelMismatchError: the config lacks an entry, or scales its positions in another way.
    """
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "dynamic"):
        raise ModelMismatchError(
            f"This checkpoint scales its positions by {kind!r}, which is not supported; "
            "use the published InternLM-XComposer-2.5."
        )
    missing = [name for name in (*NEEDED, "rope_theta") if name not in config]
    if missing:
        raise ModelMismatchError(
            f"The config of this checkpoint lacks {', '.join(missing)}; is it InternLM-XComposer-2.5?"
        )
    return LlamaConfig(
        **{name: config[name] for name in NEEDED},
        head_dim=config.get("head_dim"),
        hidden_act=config.get("hidden_act", "silu"),
        rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
        attn_implementation="sdpa",
    )


class XComposerNetwork(nn.Module):
    """Encoder, projector and language model, without weights until they are given.

    Args:
        config: of the checkpoint; "vision", "plora_rank" and "plora_alpha" default to the published model's.
        four_bit: what the language model's matrices compute in when they are quantised to 4 bits; None keeps
            them as they are.
    """

    def __init__(self, config: dict[str, Any], four_bit: torch.dtype | None = None) -> None:
        super().__init__()
        language = language_config(config)
        vision = CLIPVisionConfig(**{**TOWER, **config.get("vision", {})}, attn_implementation="sdpa")
        self.rank = rank = config.get("plora_rank", RANK)
        merged, width = 4 * vision.hidden_size, language.hidden_size
        with torch.device("meta"):  # in the order of work, in which GPUs are filled
            self.tower = CLIPVisionModel(vision)
            self.separators = nn.ParameterDict(
                {
                    "plora_sub_GN": torch.empty(1, 1, 1, merged),  # ends a row
                    "plora_glb_GN": torch.empty(1, 1, merged),  # ends the view of the whole image
                }
            )
            self.vision_proj = nn.Sequential(nn.Linear(merged, width), nn.GELU(), nn.Linear(width, width))
            self.language = partial_lora_llama(language, rank, config.get("plora_alpha", rank))
            self.lm_head = nn.Linear(width, language.vocab_size, bias=False)
        if four_bit is not None:
            quantise_bases(self.language, four_bit)
        # no checkpoint holds these buffers
        self.language.rotary_emb = LlamaRotaryEmbedding(language)
        places = torch.arange(self.tower.embeddings.num_positions)
        self.tower.embeddings.register_buffer("position_ids", places[None], persistent=False)

    def get_input_embeddings(self) -> nn.Module:
        """The table of token embeddings, as transformers' models give it."""
        return self.language.embed_tokens

    def set_tensor(self, name: str, weight: Tensor) -> None:
        """Put a parameter where there is none yet, quantised where that is in 4 bits, or a buffer elsewhere.

        Args:
            name: as of `named_parameters` or `named_buffers`.
            weight: of its shape, on the device where it stays, a parameter in the precision to compute in.
        """
        owner, _, leaf = name.rpartition(".")
        module = self.get_submodule(owner)
        if leaf in module._buffers:
            setattr(module, leaf, weight)
        elif is_four_bit(getattr(module, leaf)):
            setattr(module, leaf, quantised(module, weight))
        else:
            setattr(module, leaf, nn.Parameter(weight, requires_grad=False))
