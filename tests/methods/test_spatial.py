"""Pooling on the token grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import ImageTokens, get_method
from compressor.geometry import llava_layout
from compressor.methods.spatial import grid_cells


def test_equals_average_pooling_where_the_grid_divides():
    x = torch.randn(16 * 16, 3)
    tokens = ImageTokens(x, x, llava_layout((224, 224), image_size=224))
    pooled = torch.nn.functional.avg_pool2d(x.T.reshape(1, 3, 16, 16), 4).reshape(3, 16).T
    torch.testing.assert_close(get_method("spatial").projection(tokens, 16).apply(x), pooled)


@given(st.integers(1, 12), st.integers(1, 12), st.data())
def test_cells_have_equal_area_for_any_budget(rows, columns, data):
    m = data.draw(st.integers(1, rows * columns))
    weights = torch.from_numpy(grid_cells(rows, columns, m))
    assert weights.shape == (m, rows * columns)
    torch.testing.assert_close(weights.sum(1), torch.ones(m, dtype=torch.float64))
    torch.testing.assert_close(
        weights.sum(0), torch.full((rows * columns,), m / (rows * columns), dtype=torch.float64)
    )


@pytest.mark.parametrize("m", [26, 13, 58])
def test_cells_are_compact(m):
    weights = torch.from_numpy(grid_cells(16, 16, m))
    place = torch.arange(16, dtype=torch.float64)
    for axis in (place[:, None].expand(16, 16), place[None, :].expand(16, 16)):
        centre = weights @ axis.reshape(-1)
        spread = (weights @ axis.reshape(-1) ** 2 - centre**2).sqrt()
        assert spread.max() < 0.75 * (256 / m) ** 0.5
