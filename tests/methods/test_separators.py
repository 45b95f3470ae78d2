"""Separators that come back as they are, and methods that think in grids."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import ChatSession, ImageTokens, get_method, token_budget
from compressor.errors import InvalidOptionError
from compressor.geometry import PATCH, llava_layout, llava_next_layout
from compressor.methods.spatial import grid_cells

PINPOINTS = [(84, 168), (168, 84), (168, 168), (252, 84), (84, 252)]
NAMES = ["random", "sample", "spatial", "divprune", "metacompress"]


def image_tokens(size=(160, 120), seed=0):
    """Random tokens in the layout of an image, the larger grid of 9 x 12 for the default."""
    layout = llava_next_layout(size, PINPOINTS, image_size=84)
    x = torch.randn(len(layout), 48, generator=torch.Generator().manual_seed(seed))
    return ImageTokens(x, x, layout)


def separators_of(tokens):
    return torch.from_numpy(tokens.layout.kinds != PATCH)


@pytest.mark.parametrize("name", NAMES)
@given(size=st.sampled_from([(160, 120), (90, 200), (300, 70)]), share=st.floats(0, 1))
def test_patches_are_compressed_alone_and_separators_are_rows(next_model, name, size, share):
    tokens = image_tokens(size)
    separator, n = separators_of(tokens), len(tokens)
    m = 1 + round(share * (n - 2))
    p = get_method(name, next_model, separators="reinsert").projection(tokens, m).weights.detach()
    assert p.shape == (m, n)
    whole = p[:, separator].sum(1) > 0
    assert int(whole.sum()) == min(int(separator.sum()), m // 2)
    assert bool((p[whole].sort(1).values[:, -1] == 1).all()) and bool((p[whole].sum(1) == 1).all())
    bare = ImageTokens(
        tokens.features[~separator], tokens.embeddings[~separator], tokens.layout.without_separators()
    )
    alone = get_method(name, next_model).projection(bare, m - int(whole.sum())).weights.detach()
    assert torch.equal(p[~whole][:, ~separator], alone)
    places = (p @ torch.arange(n, dtype=p.dtype)).tolist()
    if name in ("random", "sample", "divprune"):
        assert places == sorted(places)
    returned = [place for place, is_whole in zip(places, whole.tolist(), strict=True) if is_whole]
    assert returned == sorted(returned)


def test_nothing_reduced_stays_the_identity():
    tokens = image_tokens()
    method = get_method("none", separators="reinsert")
    for m in (5, len(tokens)):
        assert method.projection(tokens, m).is_identity


def test_images_without_separators_are_left_to_the_method():
    x = torch.randn(16, 8)
    tokens = ImageTokens(x, x, llava_layout((80, 60), image_size=56))
    p = get_method("divprune", separators="reinsert").projection(tokens, 5)
    assert torch.equal(p.weights, get_method("divprune").projection(tokens, 5).weights)


@pytest.mark.parametrize("name", ["visionzip", "fastv"])
def test_methods_that_read_no_separators_or_all_have_no_such_option(name):
    with pytest.raises(InvalidOptionError, match="separators"):
        get_method(name, separators="reinsert")
    with pytest.raises(InvalidOptionError, match="separators"):
        get_method("fixed", weights=torch.eye(3), separators="reinsert")
    with pytest.raises(InvalidOptionError, match="separators"):
        get_method("divprune", separators="drop")


def test_a_chat_with_reinserted_separators_is_resumed(next_model, image):
    session = ChatSession(next_model, image, method="metacompress", rate=0.5, separators="reinsert")
    list(session.ask("Is it red?", max_new_tokens=3))
    assert session.projection.m == token_budget(len(session.tokens), 0.5)
    assert session.method.label == get_method("metacompress", next_model).label
    resumed = ChatSession.resume(next_model, pickle.loads(pickle.dumps(session.state)))
    assert list(resumed.ask("Is it blue?", max_new_tokens=3)) is not None
    assert torch.equal(resumed.projection.weights, session.projection.weights)


@pytest.mark.parametrize("m", [1, 2, 17, 100])
def test_pooling_shares_its_cells_between_both_grids_and_reads_no_separator(m):
    tokens = image_tokens()
    p = get_method("spatial").projection(tokens, m).weights
    _, large = tokens.layout.grids
    count = m * 36 // (36 + large.rows * large.columns)
    expected = torch.zeros(m, len(tokens), dtype=torch.float64)
    if count:
        expected[:count, :36] = torch.from_numpy(grid_cells(6, 6, count))
    columns = torch.from_numpy(large.indices().reshape(-1))
    expected[count:, columns] = torch.from_numpy(grid_cells(large.rows, large.columns, m - count))
    torch.testing.assert_close(p, expected.float())
    assert not p[:, separators_of(tokens)].any() and np.isclose(p.sum(1), 1).all()


def test_pooling_leaves_at_most_the_patches():
    tokens = image_tokens()
    patches = int((~separators_of(tokens)).sum())
    assert get_method("spatial").projection(tokens, len(tokens) - 1).m == patches
