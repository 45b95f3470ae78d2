"""FastV: image tokens that the prompt hardly attends to leave the language model after layer K.

Source: Chen et al., "An Image is Worth 1/2 Tokens After Layer 2" (ECCV 2024), and its published code.
"""

from typing import Any, Self

import torch
from torch import Tensor

from compressor import options
from compressor.errors import InvalidOptionError
from compressor.methods.base import DecoderMethod
from compressor.methods.selection import argsort_desc
from compressor.methods.similarity import nan_to_zero


def select_tokens(attention: Tensor, image_start: int, n: int, budget: int) -> Tensor:
    """The positions that stay: all text, and the image tokens that the query attends to most.

    Args:
        attention: of the last prompt token in layer K - 1, softmaxed, (heads, T).
        image_start: position of the first image token.
        n: image tokens.
        budget: m, image tokens to keep.
    Returns:
        (T - n + m,) absolute positions, ascending; equal scores go to the lower position, NaN counts as 0.
    """
    scores = nan_to_zero(attention)[:, image_start : image_start + n].mean(0)
    top = argsort_desc(scores)[:budget].sort().values + image_start
    places = torch.arange(attention.shape[1], device=attention.device)
    return torch.cat([places[:image_start], top, places[image_start + n :]])


class FastV(DecoderMethod):
    """Pruning inside the language model by the attention of the last prompt token, averaged over heads.

    Layers below K read all n image tokens, the others m; kept tokens keep their positions. The rate speaks of
    the m tokens from layer K on, not of the mean over layers that some publications state.

    Args:
        layer: K, the first layer that reads m tokens; the paper's K = 2 is two full layers.
        reselect: choose anew in every turn, with the newest question, for which the whole chat is read again;
            otherwise the choice of the first turn stays, as the cache keeps no more (the published code with
            `use_cache`; without it, it chooses anew for every single token, which no cached chat can do).
    Raises:
        InvalidOptionError: K is no whole number, below 1, or not below the model's number of layers.
    """

    name = "fastv"
    title = "FastV"
    description = (
        "Drops the patches that the first question's last word attends to least, inside the language model. "
        "Later questions reuse that selection."
    )

    def __init__(self, layer: int = 2, reselect: bool = False) -> None:
        # K is at least 1, because the attention of the layer before K decides
        self.layer = options.whole_number("layer of FastV", layer, 1)
        self.reselect = options.flag("reselect of FastV", reselect)

    @classmethod
    def create(cls, model: Any, **options: Any) -> Self:
        """As the base class does; with a model, K is checked against its layers.

        Args:
            model: None where it is not known yet.
            **options: `layer` and `reselect`.
        Raises:
            InvalidOptionError: there is no such option, or its value is not allowed for this model.
        """
        method = super().create(model, **options)
        if model is not None and method.layer >= len(model.decoder.layers):
            last = len(model.decoder.layers) - 1
            raise InvalidOptionError(
                f"This model has {last + 1} decoder layers, so layer of FastV is at most {last}, "
                f"not {method.layer}."
            )
        return method

    def select(self, attention: Tensor, image_start: int, n: int, budget: int) -> Tensor:
        """See `select_tokens`."""
        return select_tokens(attention, image_start, n, budget)
