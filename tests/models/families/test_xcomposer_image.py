"""The picture before the encoder, against published pixels, and where its tokens lie."""

import hashlib

import numpy as np
import pytest
import torch

from compressor.geometry import PATCH, xcomposer_layout
from compressor.models.families.xcomposer.image import MEAN, STD, arrange, canvas, merge_patches, views
from tests.models.published import arrays, picture, text
from tests.pictures import colour_probe


@pytest.mark.parametrize("name", ["landscape", "portrait"])
def test_the_canvas_is_the_published_one(name):
    case = arrays(name)
    made = np.asarray(canvas(picture(case), int(case["hd_num"])))
    assert made.shape == tuple(case["canvas_shape"].tolist())
    y, x = case["canvas_pixel_yx"].T.numpy()
    np.testing.assert_allclose(made[y, x].astype(int), case["canvas_pixel_rgb"], atol=1, rtol=0)
    np.testing.assert_allclose(made[::8, ::8].astype(int), case["canvas_every8"], atol=1, rtol=0)
    assert hashlib.sha256(made.tobytes()).hexdigest() == text(name, "canvas_sha256")
    shown, tiles = views(picture(case), int(case["hd_num"]))
    assert tiles == tuple(case["tiles_hw"].tolist()) and shown.shape == (1 + tiles[0] * tiles[1], 3, 560, 560)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1200, 300), (700, 700), (90, 400)])
@pytest.mark.parametrize("hd_num", [4, 24])
def test_token_centres_agree_with_what_the_encoder_is_shown(size, hd_num):
    shown, tiles = views(colour_probe(*size, blue=0), hd_num)
    pixels = shown.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)
    patches = pixels.unflatten(2, (-1, 14)).unflatten(1, (-1, 14)).mean((2, 4))  # (views, 40, 40, 3)
    merged = merge_patches(patches).unflatten(-1, (4, 3)).mean(-2)
    seen = arrange(merged, tiles, torch.full((3,), -1.0), torch.full((3,), -2.0)).numpy()
    layout = xcomposer_layout(size, hd_num)
    assert len(layout) == len(seen)
    np.testing.assert_array_equal(layout.kinds, np.select([seen[:, 0] == -1, seen[:, 0] == -2], [1, 2], 0))
    patch = layout.kinds == PATCH
    centres = (layout.boxes[:, :2] + layout.boxes[:, 2:]) / 2 / np.array(size)
    image = patch & (seen[:, 2] < 0.002)  # wholly image
    assert image.sum() > 100
    assert np.abs(centres - seen[:, :2])[image].max() < 0.01
    padding = patch & (seen[:, 2] > 0.998)
    assert np.isnan(layout.boxes[padding]).all() and np.isnan(layout.boxes[~patch]).all()
