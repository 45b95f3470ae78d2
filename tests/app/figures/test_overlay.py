"""The overlay: every patch where the layout puts it, in the role that P gives it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from app.figures.heatmap import caption, heatmap
from app.figures.overlay import FRAME, HATCH, SIDE, overlay
from compressor import ChatSession, Projection, list_methods
from compressor.geometry import (
    PATCH,
    ROW_SEPARATOR,
    TokenGrid,
    TokenLayout,
    llava_layout,
    llava_next_layout,
)

SIZE = (64, 64)


def layout(size=SIZE) -> TokenLayout:
    """2 x 2 patches."""
    return llava_layout(size, image_size=28, patch_size=14)


def picture(size=SIZE, colour=(40, 160, 90)) -> Image.Image:
    return Image.new("RGB", size, colour)


def quarter(drawn: Image.Image, index: int) -> np.ndarray:
    """The pixels of patch `index` of 2 x 2."""
    row, column, half = index // 2, index % 2, SIDE // 2
    return np.asarray(drawn)[row * half : (row + 1) * half, column * half : (column + 1) * half].astype(int)


KEEP_MERGE_PRUNE = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.4, 0.3, 0.3, 0.0]])


def test_kept_is_framed_merged_hatched_pruned_dark_and_grey():
    drawn = overlay(Projection(KEEP_MERGE_PRUNE, layout()), picture())
    kept, merged, pruned = quarter(drawn, 0), quarter(drawn, 1), quarter(drawn, 3)
    assert np.array_equal(kept[100, 100], (40, 160, 90)) and np.array_equal(kept[0, 100], FRAME)
    colours = np.unique(merged.reshape(-1, 3), axis=0)
    assert len(colours) == 2
    plain, stripe = sorted(colours, key=lambda colour: np.abs(colour - HATCH).sum(), reverse=True)
    assert plain[1] == plain.max() and stripe[0] == stripe.max()  # green between orange lines
    assert merged[..., 1].mean() > quarter(drawn, 3)[..., 1].mean()
    assert pruned.std(axis=2).max() == 0 and pruned.max() < 50
    grey = 0.299 * 40 + 0.587 * 160 + 0.114 * 90
    assert (pruned == int(0.3 * grey)).all()  # dark, but what it shows can still be made out
    share = np.sqrt(0.3 / np.quantile([1.4, 0.3, 0.3], 0.95))
    assert stripe == pytest.approx(0.25 * plain + 0.75 * (share * HATCH + (1 - share) * 0.3 * grey), abs=2)


def test_a_frame_goes_all_around():
    kept = quarter(overlay(Projection(KEEP_MERGE_PRUNE, layout()), picture()), 0)
    edges = (kept[:3], kept[-3:], kept[:, :3], kept[:, -3:])
    assert all((edge == FRAME).all() for edge in edges) and not (kept[3:-3, 3:-3] == FRAME).all(axis=2).any()


def test_a_merged_patch_is_the_darker_the_less_of_it_arrives():
    drawn = overlay(Projection(torch.tensor([[0.4, 0.35, 0.2, 0.05]]), layout()), picture())
    light = [quarter(drawn, index).sum(axis=2) for index in range(4)]
    for brighter, darker in pairwise(light):
        assert brighter.max() > darker.max() and brighter.min() > darker.min()


def test_the_identity_frames_every_patch_and_changes_nothing_inside():
    drawn = overlay(Projection.identity(layout()), picture())
    for index in range(4):
        inside = quarter(drawn, index)[10:-10, 10:-10]
        assert (inside == (40, 160, 90)).all()


def test_retention_is_brighter_where_more_arrives():
    weights = torch.tensor([[0.9, 0.2, 0.04, 0.0]])
    drawn = overlay(Projection(weights, layout()), picture(), "retention")
    light = [quarter(drawn, index)[50:100, 50:100, 1].mean() for index in range(4)]
    assert light == sorted(light, reverse=True) and len(set(light)) == 4
    assert light[0] == 160
    reference = np.quantile([0.9, 0.2, 0.04], 0.95)
    assert light[1] == pytest.approx(light[3] + (160 - light[3]) * np.sqrt(0.2 / reference), abs=1)


def test_one_spike_does_not_darken_the_rest():
    weights = torch.full((1, 64), 0.01)
    weights[0, 0] = 5.0
    grid = llava_layout(SIZE, image_size=112, patch_size=14)
    drawn = np.asarray(overlay(Projection(weights, grid), picture(), "retention"))
    assert (drawn[-50, -50] == (40, 160, 90)).all()


def test_what_no_patch_covers_is_washed_out():
    layout = llava_layout((128, 64), crop=True, image_size=28, patch_size=14)  # the middle square is seen
    drawn = np.asarray(overlay(Projection.identity(layout), picture((128, 64)))).astype(int)
    assert drawn.shape[:2] == (SIDE // 2, SIDE)
    outside, inside = drawn[100, 20], drawn[100, SIDE // 2 + 50]
    assert np.array_equal(inside, (40, 160, 90)) and outside.min() > 150


def test_tokens_that_show_nothing_are_skipped():
    boxes = np.vstack([layout().boxes, np.full((1, 4), np.nan)])
    kinds = np.array([PATCH] * 4 + [ROW_SEPARATOR])
    with_separator = TokenLayout(boxes, kinds, SIZE, (TokenGrid(0, 2, 2, 2),))
    for colouring in ("roles", "retention"):
        drawn = overlay(Projection.identity(with_separator), picture(), colouring)
        assert np.array_equal(drawn, overlay(Projection.identity(layout()), picture(), colouring))


@pytest.mark.parametrize("size", [(16, 16), (20, 300), (2048, 110), (333, 777)])
def test_any_shape_is_drawn_at_display_size(size):
    drawn = overlay(Projection.identity(layout(size)), picture(size))
    assert max(drawn.size) == SIDE and drawn.width / drawn.height == pytest.approx(
        size[0] / size[1], rel=0.05
    )


def test_a_projection_in_a_graph_can_be_drawn():
    weights = KEEP_MERGE_PRUNE.clone().requires_grad_()
    for colouring in ("roles", "retention"):
        drawn = overlay(Projection(weights, layout()), picture(), colouring)
        apart = overlay(Projection(KEEP_MERGE_PRUNE, layout()), picture(), colouring)
        assert np.array_equal(drawn, apart) and len(np.unique(drawn)) > 3


def test_newlines_are_no_part_of_the_picture():
    layout = llava_next_layout(SIZE, [(84, 168), (168, 168)], image_size=84)
    newline = layout.kinds == ROW_SEPARATOR
    weights = torch.zeros(int(newline.sum()), len(layout))
    weights[torch.arange(len(weights)), torch.from_numpy(np.flatnonzero(newline))] = 1.0
    drawn = np.asarray(overlay(Projection(weights, layout), picture())).astype(int)
    assert drawn.std(axis=2).max() == 0 and drawn.max() < 50  # every patch is pruned


def keeping(layout: TokenLayout, token: int) -> Projection:
    weights = torch.zeros(1, len(layout))
    weights[0, token] = 1.0
    return Projection(weights, layout)


@pytest.mark.parametrize("colouring", ["roles", "retention"])
def test_each_view_shows_its_own_patches_alone(colouring):
    size = (168, 168)
    layout = llava_next_layout(size, [(84, 168), (168, 168)], image_size=84)
    whole, tiles = (grid.indices() for grid in layout.grids)
    green, pitch = (40, 160, 90), SIDE / tiles.shape[1]
    one = keeping(layout, int(tiles[3, 8]))
    assert np.asarray(overlay(one, picture(size), colouring, "whole")).std(axis=2).max() == 0  # nothing kept
    drawn = np.asarray(overlay(one, picture(size), colouring, "tiles"))
    lit = np.argwhere((drawn == green).all(axis=2))
    frame = 3 if colouring == "roles" else 0
    assert lit.min(axis=0) == pytest.approx((3 * pitch + frame, 8 * pitch + frame), abs=1)
    assert lit.max(axis=0) == pytest.approx((4 * pitch - frame - 1, 9 * pitch - frame - 1), abs=1)
    of_whole = keeping(layout, int(whole[0, 0]))
    assert np.asarray(overlay(of_whole, picture(size), colouring, "tiles")).std(axis=2).max() == 0


@pytest.mark.parametrize("columns", [48, 120])
def test_the_frames_of_many_patches_leave_most_of_the_picture(columns):
    grid = llava_layout(SIZE, image_size=columns * 14)
    drawn = np.asarray(overlay(Projection.identity(grid), picture()))
    inside = (drawn == (40, 160, 90)).all(axis=2).mean()
    assert 0.4 < inside < 0.8


@pytest.mark.parametrize("method", [info.name for info in list_methods()])
def test_what_a_model_with_tiles_reads_is_drawn(next_model, image, method):
    session = ChatSession(next_model, image, method=method, rate=0.8)
    list(session.ask("Is it red?", max_new_tokens=1))
    for colouring in ("roles", "retention"):
        drawn = np.asarray(overlay(session.projection, image, colouring))
        assert drawn.shape == (SIDE * 60 // 80, SIDE, 3)
    assert heatmap(session.projection).data and caption(session.projection)
