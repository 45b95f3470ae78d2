"""Layouts computed apart from the package, and pictures of any shape."""

from pathlib import Path

import numpy as np
from hypothesis import strategies as st

NUMBERS = np.load(Path(__file__).parents[1] / "fixtures" / "geometry.npz")
PINPOINTS = [tuple(shape) for shape in NUMBERS["pinpoints_hw"].tolist()]
SIZES = [tuple(size) for size in NUMBERS["sizes_wh"].tolist()]
sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000)).filter(
    lambda size: max(size) <= 300 * min(size)  # beyond, an edge may vanish
)


def assert_agrees(layout, family, size):
    """A layout of a picture of this size is that of the reference numbers of a family."""
    name = f"{family}.{size[0]}x{size[1]}"
    index = NUMBERS[f"{name}.index"]
    assert len(layout) == NUMBERS[f"{name}.n"] and layout.size == size
    assert (layout.kinds[index] == NUMBERS[f"{name}.kind"]).all()
    np.testing.assert_allclose(layout.boxes[index], NUMBERS[f"{name}.rect"], atol=1e-6, rtol=0)
    grid = layout.grids[-1]
    assert [grid.rows, grid.columns] == NUMBERS[f"{name}.grid_rc"].tolist()


def assert_covers(boxes, size):
    """Boxes (k, 4), NaN where a token shows nothing, have the area of the picture together."""
    areas = np.nan_to_num((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    np.testing.assert_allclose(areas.sum(), size[0] * size[1], rtol=1e-9)
