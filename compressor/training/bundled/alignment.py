"""Stage 2: the projector learns to make every visual token the sum of the words for what its patch shows.

Stage 1 fixes only differences between words of one group: its tokens share a large common part, next to
which what tells them apart is small, and the language model finds nothing in them. Here the tower is frozen,
and the projector is fitted to the sum itself.
"""

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled.model import vocabulary
from compressor.training.bundled.vision import GROUPS, IGNORE, patch_targets
from compressor.world.layout import CLASSES, Layout

# how loud each word is; what only says "nothing here", and what every patch repeats, is said more softly
WEIGHTS = {"class": 1.0, "color": 0.8, "cell": 0.8, "background": 0.5, "pattern": 0.5, "total": 0.5}
NOTHING_WEIGHT = 0.4


def word_sums(model: LlavaForConditionalGeneration, layout: Layout) -> tuple[Tensor, Tensor]:
    """The sum of words that describes each patch (n, d), and which patches are clear (n,)."""
    words, table = vocabulary(), model.model.language_model.embed_tokens.weight.detach()
    targets = patch_targets(layout)
    total = torch.zeros(len(targets["class"]), table.shape[1])
    for group, weight in WEIGHTS.items():
        names = GROUPS.get(group) or [str(number) for number in range(10)]
        rows = table[[words.index(name) for name in names]]
        index = torch.from_numpy(np.maximum(targets[group], 0))
        loud = torch.from_numpy(np.where(targets[group] == IGNORE, 0.0, weight)).float()
        if group == "class":
            loud = torch.where(index == len(CLASSES), NOTHING_WEIGHT, loud)
        total += loud[:, None] * rows[index]
    return total, torch.from_numpy(targets["class"] != IGNORE)


def alignment_loss(tokens: Tensor, sums: Tensor, clear: Tensor) -> Tensor:
    """Mean square of what is left, per clear patch: tokens and sums (B, n, d), clear (B, n)."""
    return (tokens - sums)[clear].pow(2).mean()
