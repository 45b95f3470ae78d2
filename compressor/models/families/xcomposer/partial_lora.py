"""Partial LoRA: layers of a Llama that add a low-rank part to every projection, for image tokens only.

Source: Dong et al., "InternLM-XComposer2" (2024), section 3.2.
"""

from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from compressor.models.loading.quantization import without_weights

# (B, L) booleans of the layer call that runs in this thread; the stock layer has no way to hand it down
_IMAGE_MASK: ContextVar[Tensor | None] = ContextVar("image_mask", default=None)


class PartialLora(nn.Module):
    """A projection W x, and W x + s B (A x) for the tokens of an image.

    Args:
        base: W.
        rank: rows of A.
        scale: s, alpha / rank.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        self.lora_a = nn.Linear(base.in_features, rank, bias=False)
        self.lora_b = nn.Linear(rank, base.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, in) -> (B, L, out)."""
        y, image_mask = self.base(x), _IMAGE_MASK.get()
        if image_mask is None:
            return y
        low_rank = self.scale * self.lora_b(self.lora_a(x))
        return torch.where(image_mask[..., None].to(x.device), y + low_rank, y)


class PartialLoraLayer(LlamaDecoderLayer):
    """A decoder layer whose seven projections are `PartialLora`.

    The mask is an argument of each call and holds for its duration only, so that a call recomputed in the
    backward pass sees its own mask, and so do chats in several threads.
    """

    def __init__(self, config: LlamaConfig, index: int, rank: int, scale: float) -> None:
        super().__init__(config, index)
        for block in (self.self_attn, self.mlp):
            for name, child in list(block.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(block, name, PartialLora(child, rank, scale))

    def forward(self, hidden_states: Tensor, image_mask: Tensor | None = None, **options: Any) -> Tensor:
        """As the stock layer; `image_mask` (B, L) is True for image tokens, None where all are text."""
        token = _IMAGE_MASK.set(image_mask)
        try:
            return super().forward(hidden_states, **options)
        finally:
            _IMAGE_MASK.reset(token)


def partial_lora_llama(config: LlamaConfig, rank: int, alpha: float) -> LlamaModel:
    """A Llama whose layers, and whose `forward`, take an `image_mask` (B, L)."""
    language = LlamaModel(config)
    language.layers = nn.ModuleList(
        PartialLoraLayer(config, index, rank, alpha / rank) for index in range(config.num_hidden_layers)
    )
    return language


def quantise_bases(language: LlamaModel, dtype: torch.dtype) -> None:
    """Make every W a 4-bit layer without weights; A and B stay as they are.

    Args:
        language: of `partial_lora_llama`, without weights.
        dtype: to compute in.
    """
    for module in language.modules():
        if isinstance(module, PartialLora):
            module.base = without_weights(module.base, dtype)
