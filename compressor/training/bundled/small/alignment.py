"""Stage 3: the projector learns to make every visual token the sum of the words for what its patch shows.

As for ``tiny``, with the words of the model as it was first drawn. To the words come two codes of fixed
random vectors, each a direction of its own and so easily read: where the patch's object has its centre, and
how many objects share its colour.
"""

import math

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled.small.model import vocabulary
from compressor.training.bundled.small.patches import GROUPS, IGNORE, MOST_ALIKE, NOTHING, patch_targets
from compressor.training.bundled.small.vision import word_table
from compressor.world.dense.layout import DenseLayout
from compressor.world.dense.sentences import NUMBERS as NUMBER_WORDS

# how loud each word is; what only says "nothing here" is said more softly
WEIGHTS = {
    "class": 1.0, "color": 0.8, "shape": 0.6, "size": 0.6, "row": 0.6, "column": 0.6, "first": 0.8,
    "digit": 0.8, "last": 0.8, "ground": 0.5,
}  # fmt: skip
NOTHING_WEIGHT, COUNT_WEIGHT, PLACE_WEIGHT = 0.4, 0.4, 0.8
_FREQUENCIES = (1, 2, 4, 8)  # half periods across the picture


def _codes(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def place_code(at: Tensor, width: int) -> Tensor:
    """Vectors of about unit variance, (..., width), for places (..., 2) in [-1, 1]; near ones are alike."""
    waves = [at]
    for frequency in _FREQUENCIES:
        phase = at * (frequency * math.pi / 2)
        waves += [phase.sin(), phase.cos()]
    features = torch.cat(waves, -1)
    return features @ _codes(features.shape[-1], width, 1) / (0.45 * features.shape[-1]) ** 0.5


class WordSums:
    """What the tokens of a picture shall be."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        self.words = {group: word_table(model, group) for group in GROUPS}
        table = model.model.language_model.embed_tokens.weight.detach()
        ids = [vocabulary().index(word) for word in NUMBER_WORDS[: MOST_ALIKE + 1]]
        self.numbers = {
            "same class": table[ids].clone(),
            "same color": _codes(MOST_ALIKE + 1, table.shape[1], 2),
        }

    def __call__(self, layout: DenseLayout) -> tuple[Tensor, Tensor]:
        """The sum of words and codes for each patch (n, d), and which patches are clear (n,)."""
        targets = {key: torch.from_numpy(value) for key, value in patch_targets(layout).items()}
        width = self.words["class"].shape[1]
        total = PLACE_WEIGHT * place_code(targets["at"], width)
        for group, table in (self.words | self.numbers).items():
            index = targets[group]
            loud = torch.full(index.shape, WEIGHTS.get(group, COUNT_WEIGHT))
            if group == "class":
                loud[index == NOTHING] = NOTHING_WEIGHT
            loud[index == IGNORE] = 0.0
            total = total + loud[:, None] * table[index.clamp_min(0)]
        return total, targets["class"] != IGNORE
