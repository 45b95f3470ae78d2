"""What holds for every method that writes P before the language model: its shape, signs, sums and order."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor import ImageTokens, get_method
from compressor.geometry import PATCH, TokenGrid, TokenLayout
from compressor.methods.base import DecoderMethod
from compressor.methods.registry import METHODS

NAMES = [
    name
    for name, cls in METHODS.items()
    if not issubclass(cls, DecoderMethod) and name not in ("none", "fixed")
]
SUM_TO_1 = {"random", "sample", "spatial", "tome", "divprune", "metacompress"}
ONE_HOT_IN_RASTER_ORDER = {"random", "sample", "divprune"}
MODEL = SimpleNamespace(name="no such model", width=12, token_norm=3.5, device=torch.device("cpu"))


def image_tokens(rows, columns, seed, fill=None):
    """Random tokens of a grid with all that a method may ask for; `fill` in place of the random numbers."""
    n, draw = rows * columns, torch.Generator().manual_seed(seed)

    def numbers(*shape):
        made = torch.randn(*shape, generator=draw)
        return made if fill is None else torch.full_like(made, fill)

    layout = TokenLayout(
        boxes=np.zeros((n, 4)),
        kinds=np.full(n, PATCH),
        size=(columns, rows),
        grids=(TokenGrid(0, rows, columns, columns),),
    )
    attention = numbers(2, n + 1).softmax(-1)
    return ImageTokens(
        features=numbers(n, 8),
        embeddings=numbers(n, 12),
        layout=layout,
        cls_feature=numbers(8),
        cls_attention=attention,
        keys=numbers(n + 1, 2, 4),
        last_queries=numbers(n + 1, 8),
        last_keys=numbers(n + 1, 8),
    )


def columns_of(name, n):
    return n + 1 if name == "visionzip" else n


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(rows=st.integers(5, 9), columns=st.integers(7, 9), seed=st.integers(0, 10_000), data=st.data())
def test_every_budget_gives_a_projection(name, rows, columns, seed, data):
    n = rows * columns
    m = data.draw(st.integers(1, n - 1))
    tokens, method = image_tokens(rows, columns, seed), get_method(name, model=MODEL)
    p = method.projection(tokens, m)
    assert p.weights.shape == (m, columns_of(name, n)) == (p.m, len(p.layout))
    assert bool((p.weights >= 0).all()) and p.stage == method.stage
    assert torch.equal(p.weights, get_method(name, model=MODEL).projection(tokens, m).weights)
    sums = p.weights.detach().sum(1)
    if name in SUM_TO_1:
        torch.testing.assert_close(sums, torch.ones(m))
    else:
        assert bool((sums > 0).all())
    if name in ONE_HOT_IN_RASTER_ORDER:
        kept = p.weights.argmax(1)
        assert bool((kept.diff() > 0).all()) and torch.equal(
            p.apply(tokens.embeddings), tokens.embeddings[kept]
        )
    if name == "tome":
        centroids = p.weights @ torch.arange(n, dtype=torch.float32)
        assert bool((centroids.diff() >= -1e-4).all())


@pytest.mark.parametrize("name", NAMES)
def test_the_full_budget_is_the_identity(name):
    tokens = image_tokens(6, 7, 0)
    p = get_method(name, model=MODEL).projection(tokens, 42)
    assert p.is_identity and p.apply(tokens.embeddings) is tokens.embeddings


@pytest.mark.parametrize("fill", [torch.nan, 0.0, 1.0, torch.inf])
@pytest.mark.parametrize("m", [1, 5, 41])
@pytest.mark.parametrize("name", NAMES)
def test_features_that_say_nothing_still_give_a_projection(name, m, fill):
    p = get_method(name, model=MODEL).projection(image_tokens(6, 7, 0, fill), m)
    assert p.m == m and bool((p.weights.sum(1) > 0).all())


@pytest.mark.parametrize("family", ["model", "next_model", "xcomposer"])
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("prumerge")])
def test_m_is_the_budget_or_the_most_that_a_method_can_leave(name, family, request, image):
    model = request.getfixturevalue(family)
    method = get_method(name, model=model)
    tokens = model.encode(image, method.needs)
    n, most = len(tokens), method.max_tokens(tokens)
    patches = int((tokens.layout.kinds == PATCH).sum())
    assert most == {"spatial": patches}.get(
        name, n if method.stage == "embedding" else len(tokens.view_order)
    )
    for budget in {1, n // 2, *range(max(1, most - 2), n)}:
        assert (
            method.projection(tokens, budget).m == min(budget, most) == method.output_length(tokens, budget)
        )
    assert method.projection(tokens, n).m == n == method.output_length(tokens, n)
