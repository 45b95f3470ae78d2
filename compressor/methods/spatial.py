"""Average pooling on the token grid, with kernel = stride, for any number of cells."""

import math

import numpy as np
import torch
from torch import Tensor

from compressor.methods.base import Method
from compressor.tokens import ImageTokens


def overlaps(cuts: np.ndarray, size: int) -> np.ndarray:
    """How much of each of `size` unit intervals lies between neighbouring cuts, (k, size).

    Args:
        cuts: ascending, (k + 1,).
        size: number of unit intervals.
    """
    units = np.arange(size)
    upper = np.minimum(cuts[1:, None], units + 1)
    lower = np.maximum(cuts[:-1, None], units)
    return (upper - lower).clip(min=0)


def grid_cells(rows: int, columns: int, m: int) -> np.ndarray:
    """Weights (m, rows * columns) of m cells of equal area that tile a token grid, in raster order.

    The grid is cut into bands and each band into cells, with as many bands as make the cells most square. The
    bands share the m cells evenly (they differ by one at most) and are as high as their share, so that every
    token weighs the same. A token on a border is divided by area. Where m = a * b has the grid's proportions,
    this is the ordinary pooling with kernel = stride.

    Args:
        rows: of the grid, in tokens.
        columns: of the grid, in tokens.
        m: number of cells, from 1 to rows * columns.
    """
    bands = round(math.sqrt(m * rows / columns))
    bands = min(max(bands, math.ceil(m / columns), 1), rows, m)
    ends = [(band * m) // bands for band in range(bands + 1)]
    heights = overlaps(np.array(ends) * rows / m, rows)
    cells = []
    for band in range(bands):
        count = ends[band + 1] - ends[band]
        widths = overlaps(np.arange(count + 1) * columns / count, columns)
        cells.append(np.einsum("r,kc->krc", heights[band], widths).reshape(count, rows * columns))
    weights = np.concatenate(cells)
    return weights / weights.sum(1, keepdims=True)


class Spatial(Method):
    """Average pooling of neighbouring patches; several grids share the budget by their number of patches.

    Separators lie in no grid: no row reads them, and m is at most the number of patches.

    Source: the baseline "Spatial" of MetaCompress, supplement 10.2; the rule for any budget (`grid_cells`) is
    ours.
    """

    name = "spatial"
    title = "Spatial"
    description = "Averages neighbouring patches over cells of equal area. It does not look at the image."

    def max_tokens(self, tokens: ImageTokens) -> int:
        """The number of patches."""
        return sum(grid.rows * grid.columns for grid in tokens.layout.grids)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """Rows that average a cell each and sum to 1."""
        grids = tokens.layout.grids
        cells = [grid.rows * grid.columns for grid in grids]
        total, patches, row = self.max_tokens(tokens), 0, 0
        budget = self.output_length(tokens, budget)
        weights = np.zeros((budget, len(tokens)), np.float32)
        for grid, count in zip(grids, cells, strict=True):
            patches += count
            end = budget * patches // total
            if end > row:
                weights[row:end, grid.indices().reshape(-1)] = grid_cells(grid.rows, grid.columns, end - row)
            row = end
        return torch.from_numpy(weights).to(tokens.embeddings.device)
