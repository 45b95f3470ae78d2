"""Methods before the projector on images of several views: each view by itself, joined to one P."""

import numpy as np
import pytest
import torch
from PIL import Image

from compressor import get_method
from compressor.errors import InvalidOptionError, ModelMismatchError
from compressor.methods.prumerge import prumerge_plus_weights, prumerge_weights
from compressor.methods.tome import tome_weights
from compressor.methods.visionzip import visionzip_weights

NEEDS = frozenset({"cls_attention", "keys", "queries"})


@pytest.fixture(scope="module")
def tokens(next_model):
    """An image in five views of 6 x 6 patches: the whole, and 2 x 2 tiles."""
    pixels = np.random.default_rng(0).integers(0, 256, (150, 160, 3), dtype=np.uint8)
    return next_model.encode(Image.fromarray(pixels), NEEDS)


def raster_place(view, patch):
    """Of a patch in the whole image (36 patches), or behind it in the 12 x 12 patches of all tiles."""
    row, column = divmod(patch, 6)
    if view == 0:
        return patch
    return 36 + ((view - 1) // 2 * 6 + row) * 12 + (view - 1) % 2 * 6 + column


def test_the_reading_order_runs_across_tiles(tokens):
    expected = [raster_place(view, patch) for view in range(5) for patch in range(36)]
    assert tokens.view_order.tolist() == expected and len(tokens.views) == 5


@pytest.mark.parametrize(("m", "shares"), [(2, [1, 1, 0, 0, 0]), (7, [2, 2, 1, 1, 1]), (180, [36] * 5)])
@pytest.mark.parametrize("name", ["tome", "prumerge", "prumerge+", "visionzip"])
def test_views_share_the_budget_evenly(tokens, name, m, shares):
    method = get_method(name)
    p = method.projection(tokens, m)
    width = 37 if name == "visionzip" else 36
    views = p.weights.reshape(m, 5, width).sum(2) > 0  # (m, views): which a row reads
    assert views.sum(1).tolist() == [1] * m and views.sum(0).tolist() == shares


@pytest.mark.parametrize(
    ("name", "options", "weights"),
    [
        ("prumerge", {}, lambda queries, keys: prumerge_weights(queries, keys, 10)),
        ("prumerge", {"adaptive": True}, prumerge_weights),
        ("prumerge+", {}, lambda queries, keys: prumerge_plus_weights(queries, keys, 10)),
        (
            "prumerge+",
            {"ratio": 1 / 9},
            lambda queries, keys: prumerge_plus_weights(queries, keys, None, 1 / 9),
        ),
    ],
)
def test_prumerge_treats_every_view_as_an_image(tokens, name, options, weights):
    expected = torch.block_diag(*(weights(view.last_queries, view.last_keys) for view in tokens.views))
    method = get_method(name, **options)
    assert torch.equal(method.projection(tokens, 50).weights, expected)
    if options:  # its own number of tokens, at any rate
        assert torch.equal(method.projection(tokens, 1).weights, expected)


@pytest.mark.parametrize("metric", ["keys", "features"])
def test_tome_merges_within_a_view_and_sorts_across_them(tokens, metric):
    p = get_method("tome", metric=metric).projection(tokens, 50).weights
    places = p @ tokens.view_order.to(p.dtype)
    assert bool((places.diff() >= -1e-3).all())
    for number, view in enumerate(tokens.views):
        block = p[:, 36 * number : 36 * (number + 1)]
        block = block[block.sum(1) > 0]
        of_view = view.features if metric == "features" else view.keys[1:].mean(1)
        assert sorted(map(tuple, block.tolist())) == sorted(map(tuple, tome_weights(of_view, 10).tolist()))


@pytest.mark.parametrize("class_token", [True, False])
def test_visionzip_reads_the_tiles_in_the_published_order(tokens, class_token):
    """The whole image; dominant patches of all tiles in raster order; each [CLS]; contextual ones."""
    cls, contextual = int(class_token), 3  # 3 of 20
    p = get_method("visionzip", class_token=class_token).projection(tokens, 100)
    width, parts = 36 + cls, {"dominant": [], "cls": [], "contextual": []}
    for number, view in enumerate(tokens.views):
        block = visionzip_weights(
            view.cls_attention, view.keys.mean(1), 20 - contextual + 1 - cls, contextual
        )
        block = block[1 - cls :, 1 - cls :]
        rows = torch.zeros(len(block), 5 * width)
        rows[:, number * width : (number + 1) * width] = block
        if number == 0:
            whole = rows
            continue
        parts["cls"] += rows[:cls]
        for row in rows[cls : 20 - contextual]:
            patch = int(row.argmax()) - number * width - cls
            parts["dominant"].append((raster_place(number, patch), row))
        parts["contextual"] += rows[20 - contextual :]
    dominant = [row for _, row in sorted(parts["dominant"], key=lambda found: found[0])]
    expected = torch.stack([*whole, *dominant, *parts["cls"], *parts["contextual"]])
    assert torch.equal(p.weights, expected)


def test_visionzip_takes_a_budget_per_view(tokens):
    for m in (1, 100):
        p = get_method("visionzip", per_view=16).projection(tokens, m)
        assert p.m == 5 * 16
        assert torch.equal(p.weights, get_method("visionzip").projection(tokens, 80).weights)
    assert get_method("visionzip", per_view=576).projection(tokens, 1).m == 5 * 36
    with pytest.raises(InvalidOptionError, match="at least 1"):
        get_method("visionzip", per_view=0)


def test_what_only_tiles_have_is_refused_by_the_whole(tokens):
    with pytest.raises(ModelMismatchError, match="each of its tiles"):
        tokens.require("keys")
