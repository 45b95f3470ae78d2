"""Baselines of the accuracy table that are not methods of the page.

Grid sampling asks what a better layout of equidistant tokens gains; a trained top-k what learned selection
without MetaCompress's generator gains; the oracle, which knows where the objects are, what is left to gain;
a gray image what the model answers without seeing anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compressor.dialogues import Dialogue
from compressor.errors import ModelMismatchError
from compressor.methods.selection import select
from compressor.projection import Projection
from compressor.tokens import ImageTokens


def grid_indices(rows: int, columns: int, m: int) -> np.ndarray:
    """m token indices spread evenly over a grid: bands of rows, equidistant columns in each, raster order."""
    bands = min(max(1, round((m * rows / columns) ** 0.5)), rows, m)
    while -(-m // bands) > columns:
        bands += 1
    kept = []
    for band in range(bands):
        count = (band + 1) * m // bands - band * m // bands
        row = (2 * band + 1) * rows // (2 * bands)
        kept += [row * columns + (2 * i + 1) * columns // (2 * count) for i in range(count)]
    return np.array(kept)


def grid_sample(tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
    """Keeps tokens at equal distances on the first token grid of the image."""
    grid = tokens.layout.grids[0]
    indices = torch.from_numpy(grid_indices(grid.rows, grid.columns, budget))
    return Projection(select(indices, len(tokens)), tokens.layout)


def oracle(tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
    """Keeps what the questions are about: first the middle patch of every object.

    Then what is left of the budget goes in turn to grid-sampled tokens and to further patches of objects.
    """
    centers = (tokens.layout.boxes[:, :2] + tokens.layout.boxes[:, 2:]) / 2  # (n, 2)
    by_object = [
        np.argsort(np.hypot(*(centers - (item.x, item.y)).T), kind="stable")[:6] for item in dialogue.objects
    ]
    grid = tokens.layout.grids[0]
    spread = iter(grid_indices(grid.rows, grid.columns, budget))
    more = iter([patches[k] for k in range(1, 6) for patches in by_object])
    kept = dict.fromkeys(int(patches[0]) for patches in by_object)
    while len(kept) < budget:
        for source in (spread, more):
            if (index := next(source, None)) is not None:
                kept[int(index)] = None
    indices = torch.tensor(sorted(list(kept)[:budget]))
    return Projection(select(indices, len(tokens)), tokens.layout)


class TopK(nn.Module):
    """A trained selection: a small network scores every token, the m best are kept in raster order.

    Training passes gradients to the scores by the straight-through estimator: forward the one-hot rows,
    backward the rows weighted by the sigmoid of their score.
    """

    def __init__(self, d: int, n: int, hidden: int = 64) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.position = nn.Parameter(torch.zeros(n))

    def forward(self, embeddings: Tensor, budget: int) -> Tensor:
        """P for tokens (B, n, d) -> (B, m, n)."""
        scores = self.score(embeddings).squeeze(-1) + self.position
        kept = scores.topk(budget, dim=-1).indices.sort(-1).values  # (B, m)
        rows = nn.functional.one_hot(kept, embeddings.shape[1]).to(embeddings.dtype)
        gate = scores.sigmoid().gather(-1, kept).unsqueeze(-1)
        return rows * (1 + gate - gate.detach())

    def project(self, tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
        """As ``grid_sample``."""
        return Projection(self(tokens.embeddings[None], budget)[0].detach(), tokens.layout)

    @classmethod
    def load(cls, path: Path) -> "TopK":
        """Reads the weights that the trainer wrote."""
        try:
            state = torch.load(path, weights_only=True)
        except OSError as error:
            raise ModelMismatchError(f"There are no top-k weights at {path}: train them first.") from error
        topk = cls(state["score.0.weight"].shape[1], len(state["position"]))
        topk.load_state_dict(state)
        return topk


def gray_dialogues(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The same questions about a plain gray image of the same size."""
    return [replace(d, load=partial(_gray, d.load), id=f"{d.id}-gray") for d in dialogues]


def _gray(load: Callable[[], Image.Image]) -> Image.Image:
    return Image.new("RGB", load().size, (127, 127, 127))
