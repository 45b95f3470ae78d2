"""The tokens of LLaVA-NeXT are those of its tiles without their padding, and cover the image twice."""

import numpy as np
import pytest
from hypothesis import given

from compressor.errors import ImageError
from compressor.geometry import (
    PATCH,
    ROW_SEPARATOR,
    TokenGrid,
    join_layouts,
    llava_next_layout,
    llava_next_tiles,
)
from tests.geometry.reference import PINPOINTS, SIZES, assert_agrees, assert_covers, sizes


@pytest.mark.parametrize("size", SIZES)
def test_layouts_are_those_of_the_reference_numbers(size):
    assert_agrees(llava_next_layout(size, PINPOINTS), "llava_next", size)


def test_the_grids_of_llava_next():
    layout = llava_next_layout((640, 480), PINPOINTS)
    assert layout.grids == (TokenGrid(0, 24, 24, 24), TokenGrid(576, 36, 48, 49))
    assert (layout.kinds[576:].reshape(36, 49)[:, -1] == ROW_SEPARATOR).all()
    assert (layout.kinds == ROW_SEPARATOR).sum() == 36
    patches = layout.without_separators()
    assert patches.grids == (TokenGrid(0, 24, 24, 24), TokenGrid(576, 36, 48, 48))
    for grid, bare in zip(layout.grids, patches.grids, strict=True):
        assert np.array_equal(layout.boxes[grid.indices()], patches.boxes[bare.indices()], equal_nan=True)


@given(sizes)
def test_both_grids_of_llava_next_tile_the_image(size):
    layout = llava_next_layout(size, PINPOINTS)
    tiles, _ = llava_next_tiles(size, PINPOINTS)
    assert_covers(layout.boxes[:576], size)
    assert_covers(join_layouts(tiles[1:]).boxes, size)


@given(sizes)
def test_the_tokens_of_llava_next_are_those_of_its_tiles_in_reading_order(size):
    layout = llava_next_layout(size, PINPOINTS)
    tiles, order = llava_next_tiles(size, PINPOINTS)
    assert sorted(order) == list(range(576 * len(tiles)))
    boxes = np.full((len(order), 4), np.nan)
    boxes[order] = join_layouts(tiles).boxes
    patches = layout.boxes[layout.kinds == PATCH]
    shown = patches[~np.isnan(patches[:, 0])]
    in_order = iter(boxes.tolist())
    assert all(box in in_order for box in shown.tolist())  # a subsequence


@pytest.mark.parametrize("size", [(1, 5000), (5000, 3)])
def test_a_strip_that_vanishes_in_every_tiling_is_refused(size):
    with pytest.raises(ImageError, match="too thin"):
        llava_next_layout(size, PINPOINTS)


def test_a_strip_whose_rows_all_count_as_padding_leaves_the_squashed_image():
    assert len(llava_next_layout((5000, 8), PINPOINTS)) == 576
    upright = llava_next_layout((8, 5000), PINPOINTS)
    assert upright.grids == (TokenGrid(0, 24, 24, 24),) and (upright.kinds[576:] == ROW_SEPARATOR).all()
