"""Whether the tokens that a learned P keeps are those that attention points at.

Source: the statistic of MetaCompress, section 4: kept tokens hardly overlap with those of high attention.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.decoding import Pruning, Request, prefill
from compressor.dialogues import Dialogue
from compressor.methods.base import Method
from compressor.methods.selection import argsort_desc
from compressor.models.base import VisionLanguageModel
from compressor.projection import token_budget
from compressor.tokens import ImageTokens

NEEDS = frozenset({"cls_attention"})
PROMPT_LAYER = 2  # FastV's K: the attention of the layer before it


@dataclass(frozen=True)
class Overlap:
    """Mean shares in percent, with standard errors over the images.

    Args:
        rate: of the reduction.
        kept: mean number of different tokens that are some row's largest source.
        cls: share of them among as many tokens of the highest [CLS] attention.
        cls_error: standard error of `cls`.
        prompt: share among those of the highest attention of the question's last token.
        prompt_error: standard error of `prompt`.
        chance: share that as many tokens drawn at random would have.
    """

    rate: float
    kept: float
    cls: float
    cls_error: float
    prompt: float
    prompt_error: float
    chance: float


@torch.no_grad()
def prompt_attention(model: VisionLanguageModel, tokens: ImageTokens, question: str) -> Tensor:
    """Attention (n,) that the last token of the prompt pays each image token, the mean over heads."""
    ids = model.prompt_ids(question, first=True)
    start, n = ids.index(model.image_token_id), len(tokens)
    attentions: list[Tensor] = []

    def keep_all(attention: Tensor) -> Tensor:
        attentions.append(attention)
        return torch.arange(attention.shape[1])

    pruning = Pruning(PROMPT_LAYER, len(ids) - 1 + n - 1, keep_all)
    prefill(model.decoder, [Request(pruning=pruning)], [model.embed_ids(ids, tokens.embeddings)])
    return attentions[0].mean(0)[start : start + n]


def shared(kept: Tensor, scores: Tensor) -> float:
    """Share of the tokens `kept` (k,) that are among the k of the highest score (n,)."""
    top = argsort_desc(scores)[: len(kept)]
    return int(torch.isin(kept, top).sum()) / len(kept)


@torch.no_grad()
def attention_overlap(
    model: VisionLanguageModel, method: Method, dialogues: Sequence[Dialogue], rates: Sequence[float]
) -> list[Overlap]:
    """The statistic for one method at several rates.

    Args:
        model: the model; its encoder has a [CLS].
        method: that writes P before the language model.
        dialogues: images with a question each; further turns are not read.
        rates: above 0.
    """
    shares: dict[float, list[tuple[float, float, float, float]]] = {rate: [] for rate in rates}
    for dialogue in dialogues:
        tokens = model.encode(dialogue.image, NEEDS | method.needs)
        prompted = prompt_attention(model, tokens, dialogue.turns[0].question)
        attended = tokens.require("cls_attention").mean(0)[1:]
        for rate in rates:
            weights = method.projection(tokens, token_budget(len(tokens), rate)).weights
            kept = weights.argmax(1).unique()
            chance = len(kept) / len(tokens)
            shares[rate].append((len(kept), shared(kept, attended), shared(kept, prompted), chance))
    return [_summary(rate, np.array(values)) for rate, values in shares.items()]


def _summary(rate: float, values: np.ndarray) -> Overlap:
    kept, cls, prompt, chance = values.mean(0)
    _, cls_error, prompt_error, _ = values.std(0, ddof=1) / len(values) ** 0.5
    percent = (100 * float(x) for x in (cls, cls_error, prompt, prompt_error, chance))
    return Overlap(rate, float(kept), *percent)
