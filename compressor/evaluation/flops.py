"""Floating-point operations of an answer, by formula from the model's configuration.

Counted as torch's `FlopCounterMode` counts: two operations per multiply-add of matrix products and
convolutions, nothing for norms, activations, softmax and rotations; attention in full, although half of it is
masked. Products of a matrix and a vector, which that counter leaves out, occur in none of the formulas.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection
from compressor.tokens import ImageTokens


@dataclass(frozen=True)
class Flops:
    """Operations of a batch of answers.

    Args:
        vision: encoder and projector on every view.
        projection: making P and applying it, at the vision stage with the projector on what it leaves.
        prefill: from the embeddings to the first token.
        decode: from there to the last.
    """

    vision: int
    projection: int
    prefill: int
    decode: int

    @property
    def total(self) -> int:
        """All stages."""
        return self.vision + self.projection + self.prefill + self.decode


def encoder_flops(vision: Any) -> int:
    """Of one view: all layers of the encoder on k patches and [CLS].

    Args:
        vision: its configuration (CLIP).
    """
    d_v, k = vision.hidden_size, (vision.image_size // vision.patch_size) ** 2
    patches = 2 * k * vision.num_channels * vision.patch_size**2 * d_v
    linear = 2 * (k + 1) * (4 * d_v**2 + 2 * d_v * vision.intermediate_size)
    attention = 4 * (k + 1) ** 2 * d_v
    return patches + vision.num_hidden_layers * (linear + attention)


def projector_flops(projector: nn.Module, count: int) -> int:
    """Of the projector on `count` tokens, from the shapes of its matrices."""
    linear = (module for module in projector.modules() if isinstance(module, nn.Linear))
    return 2 * count * sum(module.in_features * module.out_features for module in linear)


def vision_flops(model: VisionLanguageModel, tokens: Sequence[ImageTokens]) -> int:
    """Of the encoder and the projector on all views of images.

    Args:
        model: that encodes them.
        tokens: of each image.
    """
    views = sum(len(image.views) for image in tokens)
    projected = sum(model.projected(image) for image in tokens)
    return views * encoder_flops(model.vision_config) + projector_flops(model.projector, projected)


def application_flops(model: VisionLanguageModel, tokens: ImageTokens, projection: Projection) -> int:
    """Of P X at its stage, with the projector where P acts before it; none for the identity.

    Args:
        model: that reads the reduced tokens.
        tokens: of an image.
        projection: P of that image.
    """
    if projection.stage == "decoder" or projection.is_identity:
        return 0
    if projection.stage == "embedding":
        return 2 * projection.m * projection.n * tokens.embeddings.shape[1]
    applied = 2 * projection.m * projection.n * tokens.features.shape[1]
    return applied + projector_flops(model.projector, projection.m)


def _layer_flops(text: Any, new: int, keys: int, image_rank: int = 0) -> int:
    """Of a decoder layer that reads `new` tokens and attends to `keys`."""
    d, queries = text.hidden_size, text.num_attention_heads * text.head_dim
    cached, ff = text.num_key_value_heads * text.head_dim, text.intermediate_size
    linear = 2 * new * (2 * d * queries + 2 * d * cached + 3 * d * ff)
    low_rank = 2 * new * image_rank * (2 * (d + queries) + 2 * (d + cached) + 3 * (d + ff))
    return linear + low_rank + 4 * new * keys * queries


def _head_flops(text: Any) -> int:
    """Of the logits of one token."""
    return 2 * text.hidden_size * text.vocab_size


def prefill_flops(text: Any, lengths: Sequence[int], image_rank: int = 0) -> int:
    """Of reading a prompt up to its first answer token; logits are computed at the last position only.

    Args:
        text: configuration of the language model.
        lengths: tokens that each layer reads; they differ where a method prunes inside the decoder.
        image_rank: of the low-rank part that every projection adds in a prompt with an image; it is computed
            for all tokens of the prompt.
    """
    layers = sum(_layer_flops(text, length, length, image_rank) for length in lengths)
    return layers + _head_flops(text)


def decode_flops(text: Any, lengths: Sequence[int], steps: int) -> int:
    """Of `steps` further tokens after a prompt; arguments as of `prefill_flops`."""
    layers = sum(_layer_flops(text, 1, length + step) for step in range(1, steps + 1) for length in lengths)
    return layers + steps * _head_flops(text)


def pruning_flops(text: Any, length: int) -> int:
    """Of the attention row that FastV computes anew: one query against `length` keys, without values."""
    queries = text.num_attention_heads * text.head_dim
    return 2 * text.hidden_size * queries + 2 * length * queries


def counted_flops(call: Callable[[], object]) -> int:
    """What torch's counter finds in a call."""
    # torch has a formula for each of the fused attentions but that of the CPU
    attention = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        call()
    return counter.get_total_flops()


def _attention_flops(query: Sequence[int], key: Sequence[int], *_: object, **__: object) -> int:
    """Of fused attention, from the shapes (B, heads, L, d_k) and (B, heads, keys, d_k)."""
    rows, heads, length, width = query
    return 4 * rows * heads * length * key[2] * width
