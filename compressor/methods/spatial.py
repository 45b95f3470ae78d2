"""Average pooling on the token grid, with kernel = stride, for any number of cells."""

import math

import torch
from torch import Tensor

from compressor.methods.base import Method
from compressor.tokens import ImageTokens


def overlaps(cuts: Tensor, size: int) -> Tensor:
    """How much of each of `size` unit intervals lies between neighbouring cuts: (k + 1,) -> (k, size)."""
    units = torch.arange(size, dtype=cuts.dtype)
    upper = torch.minimum(cuts[1:, None], units + 1)
    lower = torch.maximum(cuts[:-1, None], units)
    return (upper - lower).clamp_min(0)


def grid_cells(rows: int, columns: int, m: int) -> Tensor:
    """Weights (m, rows * columns) of m cells of equal area that tile a token grid, in raster order.

    The grid is cut into bands and each band into cells, with as many bands as make the cells most square. The
    bands share the m cells evenly (they differ by one at most) and are as high as their share, so that every
    token weighs the same. A token on a border is divided by area. Where m = a * b has the grid's proportions,
    this is the ordinary pooling with kernel = stride.
    """
    bands = round(math.sqrt(m * rows / columns))
    bands = min(max(bands, math.ceil(m / columns), 1), rows, m)
    ends = [(band * m) // bands for band in range(bands + 1)]
    heights = overlaps(torch.tensor(ends, dtype=torch.float64) * rows / m, rows)
    cells = []
    for band in range(bands):
        count = ends[band + 1] - ends[band]
        widths = overlaps(torch.arange(count + 1, dtype=torch.float64) * columns / count, columns)
        cells.append(torch.einsum("r,kc->krc", heights[band], widths).reshape(count, rows * columns))
    weights = torch.cat(cells)
    return weights / weights.sum(1, keepdim=True)


class Spatial(Method):
    """Average pooling of neighbouring patches; several grids share the budget by their number of patches.

    Separators lie in no grid: no row reads them, and m is at most the number of patches.

    Source: the baseline "Spatial" of MetaCompress, supplement 10.2; the rule for any budget (`grid_cells`) is
    ours.
    """

    name = "spatial"
    title = "Spatial"
    description = "Averages neighbouring patches over cells of equal area. It does not look at the image."

    def most(self, tokens: ImageTokens) -> int:
        """The number of patches."""
        return sum(grid.rows * grid.columns for grid in tokens.layout.grids)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """Rows that average a cell each and sum to 1."""
        grids = tokens.layout.grids
        cells = [grid.rows * grid.columns for grid in grids]
        total, seen, used = self.most(tokens), 0, 0
        budget = self.size(tokens, budget)
        weights = torch.zeros(budget, len(tokens), dtype=torch.float64)
        for grid, count in zip(grids, cells, strict=True):
            seen += count
            end = budget * seen // total
            if end > used:
                columns = torch.from_numpy(grid.indices().reshape(-1))
                weights[used:end, columns] = grid_cells(grid.rows, grid.columns, end - used)
            used = end
        return weights.to(tokens.embeddings.device, torch.float32)
