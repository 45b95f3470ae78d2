"""Predicted patches against what the real processor shows the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.geometry import llava_layout
from tests.geometry.reference import SIZES, assert_agrees, assert_covers
from tests.pictures import colour_probe


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500), (800, 500), (90, 160)])
@pytest.mark.parametrize("crop", [False, True])
def test_patch_centres_agree_with_the_real_processor(model, monkeypatch, size, crop):
    monkeypatch.setattr(model, "crop", crop)
    probe = model._view(colour_probe(*size, blue=255))
    pixels = model.processor(images=[probe], return_tensors="np")["pixel_values"][0]
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


@pytest.mark.parametrize("size", SIZES)
def test_layouts_are_those_of_the_reference_numbers(size):
    assert_agrees(llava_layout(size, crop=True), "llava15_crop", size)
    assert_agrees(llava_layout(size), "llava15_pad", size)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_padded_patches_tile_the_image(width, height):
    layout = llava_layout((width, height))
    shown = layout.boxes[~np.isnan(layout.boxes[:, 0])]
    assert ((shown >= 0) & (shown <= [width, height, width, height])).all()
    assert_covers(layout.boxes, (width, height))
