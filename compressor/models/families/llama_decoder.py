"""A Llama of transformers as a `Decoder`."""

from typing import Any

from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaModel, apply_rotary_pos_emb

from compressor.models.base import Decoder


def llama_decoder(language: LlamaModel, head: nn.Module) -> Decoder:
    """The parts of a language model that `decoding` needs.

    Args:
        language: the model without its head.
        head: (..., d) -> logits (..., vocabulary).
    """

    def queries(index: int, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        layer: Any = language.layers[index]
        attention = layer.self_attn
        states = attention.q_proj(layer.input_layernorm(x))  # (B, L, heads * d_k)
        states = states.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        rotary = tuple(part.to(states.device) for part in rotary)  # layers may be spread over GPUs
        return apply_rotary_pos_emb(states, states[:, :1], *rotary)[0] * attention.scaling

    return Decoder(
        embed=language.embed_tokens,
        layers=language.layers,
        rotary=language.rotary_emb,
        norm=language.norm,
        head=head,
        queries=queries,
    )
