"""The pruning of a prompt inside the decoder by a method, and the P of the tokens that it kept."""

from collections.abc import Sequence
from functools import partial

import torch

from compressor.decoding import Pruning
from compressor.methods.base import DecoderMethod
from compressor.methods.selection import select
from compressor.projection import Projection
from compressor.tokens import ImageTokens


def prompt_pruning(
    method: DecoderMethod,
    ids: Sequence[int],
    image_token_id: int,
    n: int,
    budget: int,
    known: Projection | None = None,
) -> Pruning:
    """What a decoder method does to a sequence that begins with some ids.

    Args:
        method: of the stage "decoder".
        ids: up to the token whose attention decides; one of them stands for the image.
        image_token_id: the id that stands for the image.
        n: image tokens before.
        budget: image tokens after.
        known: P of the same choice, where it was made before and need not be made again.
    """
    start = list(ids).index(image_token_id)
    query = len(ids) - 1 + n - 1
    kept = None
    if known is not None:
        places = torch.arange(query + 1)
        image_places = known.weights.argmax(1).cpu() + start
        kept = torch.cat([places[:start], image_places, places[start + n :]])
    choose = partial(method.select, image_start=start, n=n, budget=budget)
    return Pruning(method.layer, query, choose, kept)


def pruned_projection(
    pruning: Pruning, ids: Sequence[int], image_token_id: int, tokens: ImageTokens
) -> Projection:
    """The one-hot P of a choice that a prefill has made.

    Args:
        pruning: with the positions that the prefill kept.
        ids: as of `prompt_pruning`.
        image_token_id: the id that stands for the image.
        tokens: of the image.
    """
    assert pruning.kept is not None
    start, n = list(ids).index(image_token_id), len(tokens)
    kept = pruning.kept[(pruning.kept >= start) & (pruning.kept < start + n)] - start
    return Projection(select(kept, n), tokens.layout, "decoder")
