"""The tokens of XComposer are those of its tiles, and cover the image twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import InvalidOptionError
from compressor.geometry import (
    PATCH,
    join_layouts,
    xcomposer_canvas,
    xcomposer_layout,
    xcomposer_tiles,
)
from tests.geometry.reference import SIZES, assert_agrees, assert_covers, sizes


@pytest.mark.parametrize("size", SIZES)
def test_layouts_are_those_of_the_reference_numbers(size):
    assert_agrees(xcomposer_layout(size), "xcomposer25_hd24", size)
    assert_agrees(xcomposer_layout(size, 4), "xcomposer25_hd4", size)


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 30))
def test_both_grids_of_xcomposer_tile_the_image(width, height, hd_num):
    layout = xcomposer_layout((width, height), hd_num)
    _, (rows, columns) = xcomposer_canvas((width, height), hd_num)
    assert len(layout) == (rows * columns + 1) * 400 + 1 + (rows + 1) * 20 and rows * columns <= hd_num
    patches = np.concatenate([grid.indices().reshape(-1) for grid in layout.grids])
    assert (np.sort(patches) == np.flatnonzero(layout.kinds == PATCH)).all()
    for grid in layout.grids:
        assert_covers(layout.boxes[grid.indices().reshape(-1)], (width, height))


def test_xcomposer_keeps_a_row_of_an_endless_strip_and_refuses_no_tiles():
    assert xcomposer_canvas((50_000, 1)) == ((13440, 1), (1, 24))
    assert xcomposer_canvas((1, 50_000)) == ((1, 13440), (24, 1))
    with pytest.raises(InvalidOptionError):
        xcomposer_layout((640, 480), 0)


@given(sizes, st.integers(1, 30))
def test_the_tokens_of_xcomposer_are_those_of_its_tiles_in_reading_order(size, hd_num):
    layout = xcomposer_layout(size, hd_num)
    tiles, order = xcomposer_tiles(size, hd_num)
    boxes = np.full((len(order), 4), np.inf)
    boxes[order] = join_layouts(tiles).boxes
    np.testing.assert_allclose(boxes, layout.boxes[layout.kinds == PATCH], atol=1e-9)
