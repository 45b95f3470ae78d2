"""Selections and averages of the visual tokens, drawn without a look at the scene."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

_WAYS = ("grid", "average", "subset", "sequence", "equidistant", "all")
_EARLY = (0.42, 0.2, 0.2, 0.09, 0.09, 0.0)
_LATE = (0.26, 0.1, 0.15, 0.07, 0.07, 0.35)
FIRST, LATE = 0.15, 0.65  # of the run: until then not few tokens; from then on all of them, too
FEWEST, FEWEST_AT_FIRST = 29, 96  # tokens; 29 of 576 are 95 % fewer


def draw_reduction(rng: np.random.Generator, progress: float, n: int) -> tuple[Tensor, Tensor]:
    """Draws a way of reducing n tokens on a square grid: weights (m, n) and positions (m,).

    Regular sub-grids and averages of blocks of 2 x 2, random subsets, averages along the sequence,
    equidistant tokens; late in the run all tokens. Positions are those of the tokens, or the middle of those
    averaged.
    """
    side = round(n**0.5)
    index = np.arange(n).reshape(side, side)
    fewest = FEWEST_AT_FIRST if progress < FIRST else FEWEST
    way = rng.choice(_WAYS, p=_EARLY if progress < LATE else _LATE)
    if way == "grid":
        groups = index[rng.integers(2) :: 2, rng.integers(2) :: 2].reshape(-1, 1)
    elif way == "average":
        groups = index.reshape(side // 2, 2, side // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
    elif way == "subset":
        size = int(np.exp(rng.uniform(np.log(fewest), np.log(n / 2))))
        groups = np.sort(rng.choice(n, size=size, replace=False))[:, None]
    elif way == "sequence":
        bounds = np.linspace(0, n, int(rng.integers(max(fewest, 2 * FEWEST), n // 2)) + 1).astype(int)
        groups = [index.ravel()[a:b] for a, b in pairwise(bounds)]
    elif way == "equidistant":
        m = int(rng.integers(fewest, n // 2))
        groups = (np.arange(m) * n // m)[:, None]
    else:
        groups = index.reshape(-1, 1)
    weights = torch.zeros(len(groups), n)
    for row, members in enumerate(groups):
        weights[row, torch.as_tensor(members)] = 1 / len(members)
    return weights, torch.tensor([int(np.mean(members)) for members in groups])
