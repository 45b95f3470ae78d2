"""Predicted patches against what the real processor shows the model."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compressor.errors import ImageError, InvalidOptionError, ModelMismatchError
from compressor.geometry import (
    PATCH,
    ROW_SEPARATOR,
    TokenGrid,
    TokenLayout,
    join_layouts,
    llava_layout,
    llava_next_layout,
    llava_next_tiles,
    xcomposer_canvas,
    xcomposer_layout,
    xcomposer_tiles,
)

REFERENCE = np.load(Path(__file__).parent / "fixtures" / "geometry.npz")
PINPOINTS = [tuple(shape) for shape in REFERENCE["pinpoints_hw"].tolist()]
SIZES = [tuple(size) for size in REFERENCE["sizes_wh"].tolist()]
FAMILIES = {
    "llava15_crop": lambda size: llava_layout(size, crop=True),
    "llava15_pad": llava_layout,
    "llava_next": lambda size: llava_next_layout(size, PINPOINTS),
    "xcomposer25_hd24": xcomposer_layout,
    "xcomposer25_hd4": lambda size: xcomposer_layout(size, 4),
}


def colour_probe(width, height):
    """An image whose red and green say x / W and y / H, and whose blue says that it is image, not padding."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = [(x + 0.5) / width * 255, (y + 0.5) / height * 255, np.full(x.shape, 255.0)]
    return Image.fromarray(np.rint(np.stack(pixels, axis=-1)).astype(np.uint8))


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500), (800, 500), (90, 160)])
@pytest.mark.parametrize("crop", [False, True])
def test_patch_centres_agree_with_the_real_processor(model, monkeypatch, size, crop):
    monkeypatch.setattr(model, "crop", crop)
    pixels = model.processor(images=[model._view(colour_probe(*size))], return_tensors="np")["pixel_values"][
        0
    ]
    mean, std = np.array(model.processor.image_mean), np.array(model.processor.image_std)
    seen = pixels.transpose(1, 2, 0) * std + mean  # (56, 56, 3) in [0, 1]
    patches = seen.reshape(4, 14, 4, 14, 3).transpose(0, 2, 1, 3, 4).reshape(16, 14, 14, 3).mean((1, 2))
    layout = llava_layout(size, crop, image_size=56, patch_size=14)
    centres = (layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2 / np.array(size)
    inside = patches[:, 2] > 0.995  # wholly image
    assert inside.sum() >= 4
    assert np.abs(centres - patches[:, :2])[inside].max() < 0.01


def test_known_rectangles_of_llava_at_336():
    cropped = llava_layout((640, 480), crop=True)
    assert len(cropped) == 576
    np.testing.assert_allclose(
        cropped.boxes[[0, 23, 575]], [[80, 0, 100, 20], [540, 0, 560, 20], [540, 460, 560, 480]]
    )
    padded = llava_layout((640, 480))
    np.testing.assert_allclose(padded.boxes[72], [0, 0, 640 / 24, 640 / 24])
    assert np.isnan(padded.boxes[:72]).all() and np.isnan(padded.boxes[-72:]).all()
    assert not padded.kinds.any()


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_padded_patches_tile_the_image(width, height):
    layout = llava_layout((width, height))
    shown = layout.boxes[~np.isnan(layout.boxes[:, 0])]
    assert ((shown >= 0) & (shown <= [width, height, width, height])).all()
    areas = (shown[:, 2] - shown[:, 0]) * (shown[:, 3] - shown[:, 1])
    np.testing.assert_allclose(areas.sum(), width * height, rtol=1e-9)


def test_the_grid_is_in_raster_order():
    layout = llava_layout((336, 336))
    cells = layout.grids[0].indices()
    assert cells.shape == (24, 24) and (cells.reshape(-1) == np.arange(576)).all()


def test_layouts_compare_by_value_and_refuse_nonsense():
    assert llava_layout((640, 480)) == llava_layout((640, 480)) != llava_layout((480, 640))
    with pytest.raises(ModelMismatchError):
        TokenLayout(np.zeros((3, 4)), np.zeros(2), (1, 1), ())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_layouts_are_those_of_the_reference_numbers(family, size):
    name = f"{family}.{size[0]}x{size[1]}"
    layout, index = FAMILIES[family](size), REFERENCE[f"{name}.index"]
    assert len(layout) == REFERENCE[f"{name}.n"] and layout.size == size
    assert (layout.kinds[index] == REFERENCE[f"{name}.kind"]).all()
    np.testing.assert_allclose(layout.boxes[index], REFERENCE[f"{name}.rect"], atol=1e-6, rtol=0)
    grid = layout.grids[-1]
    assert [grid.rows, grid.columns] == REFERENCE[f"{name}.grid_rc"].tolist()


def test_the_grids_of_llava_next():
    layout = llava_next_layout((640, 480), PINPOINTS)
    assert layout.grids == (TokenGrid(0, 24, 24, 24), TokenGrid(576, 36, 48, 49))
    assert (layout.kinds[576:].reshape(36, 49)[:, -1] == ROW_SEPARATOR).all()
    assert (layout.kinds == ROW_SEPARATOR).sum() == 36
    patches = layout.without_separators()
    assert patches.grids == (TokenGrid(0, 24, 24, 24), TokenGrid(576, 36, 48, 48))
    for grid, bare in zip(layout.grids, patches.grids, strict=True):
        assert np.array_equal(layout.boxes[grid.indices()], patches.boxes[bare.indices()], equal_nan=True)


sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000)).filter(
    lambda size: max(size) <= 300 * min(size)  # beyond, an edge may vanish
)


@given(sizes)
def test_both_grids_of_llava_next_tile_the_image(size):
    layout = llava_next_layout(size, PINPOINTS)
    tiles, _ = llava_next_tiles(size, PINPOINTS)
    for boxes in (layout.boxes[:576], join_layouts(tiles[1:]).boxes):
        shown = boxes[~np.isnan(boxes[:, 0])]
        areas = (shown[:, 2] - shown[:, 0]) * (shown[:, 3] - shown[:, 1])
        np.testing.assert_allclose(areas.sum(), size[0] * size[1], rtol=1e-9)


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


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 30))
def test_both_grids_of_xcomposer_tile_the_image(width, height, hd_num):
    layout = xcomposer_layout((width, height), hd_num)
    _, (rows, columns) = xcomposer_canvas((width, height), hd_num)
    assert len(layout) == (rows * columns + 1) * 400 + 1 + (rows + 1) * 20 and rows * columns <= hd_num
    patches = np.concatenate([grid.indices().reshape(-1) for grid in layout.grids])
    assert (np.sort(patches) == np.flatnonzero(layout.kinds == 0)).all()
    for grid in layout.grids:
        boxes = layout.boxes[grid.indices().reshape(-1)]
        areas = np.nan_to_num((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        np.testing.assert_allclose(areas.sum(), width * height, rtol=1e-9)


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
