"""The methods that do not look at the image, and what holds for every method."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import ImageTokens, get_method, list_methods
from compressor.errors import InvalidOptionError, InvalidRateError, UnknownMethodError
from compressor.geometry import llava_layout
from compressor.methods.metacompress import MetaCompress
from compressor.methods.selection import complement

NAMES = ["none", "random", "sample", "spatial", "metacompress"]


def image_tokens(side=5, d=8):
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(side * side, d, generator=generator)
    return ImageTokens(embeddings, embeddings, llava_layout((90, 60), image_size=14 * side))


def build(name):
    return MetaCompress(8, 4) if name == "metacompress" else get_method(name)


@pytest.mark.parametrize("name", NAMES)
def test_rate_0_is_the_identity(name):
    tokens = image_tokens()
    projection = build(name).projection(tokens, 25)
    assert projection.is_identity and projection.apply(tokens.embeddings) is tokens.embeddings


@pytest.mark.parametrize("name", NAMES[1:])
@given(budget=st.integers(1, 24))
def test_every_budget_gives_exactly_m_rows_that_sum_to_1(name, budget):
    projection = build(name).projection(image_tokens(), budget)
    assert projection.weights.shape == (budget, 25) and projection.weights.dtype == torch.float32
    torch.testing.assert_close(projection.weights.sum(1), torch.ones(budget), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("budget", [0, -1, 26])
def test_budgets_outside_1_to_n_are_refused(name, budget):
    with pytest.raises(InvalidRateError):
        build(name).projection(image_tokens(), budget)


def test_none_ignores_the_budget():
    assert get_method("none").projection(image_tokens(), 3).is_identity
    assert get_method("none").output_length(image_tokens(), 3) == 25


@given(st.integers(1, 24), st.integers(0, 5))
def test_random_keeps_m_tokens_in_order_and_repeats_by_seed(budget, seed):
    first = get_method("random", seed=seed).projection(image_tokens(), budget).weights
    again = get_method("random", seed=seed).projection(image_tokens(), budget).weights
    kept = first.argmax(1)
    assert torch.equal(first, again) and first.sum() == budget
    assert (kept.diff() > 0).all()


def test_random_seeds_differ():
    rows = {
        tuple(get_method("random", seed=s).projection(image_tokens(), 5).weights.argmax(1).tolist())
        for s in range(9)
    }
    assert len(rows) > 5


def test_sample_takes_the_middles_of_equal_stretches():
    kept = get_method("sample").projection(image_tokens(), 5).weights.argmax(1)
    assert kept.tolist() == [2, 7, 12, 17, 22]


@given(st.integers(1, 24))
def test_sample_is_equidistant_to_a_token(budget):
    kept = get_method("sample").projection(image_tokens(), budget).weights.argmax(1)
    gaps = kept.diff()
    assert (gaps >= 1).all() and (len(gaps) == 0 or gaps.max() - gaps.min() <= 1)


@given(st.integers(1, 60), st.data())
def test_others_are_those_not_kept_in_order(n, data):
    kept = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    left = complement(n, torch.tensor(kept, dtype=torch.long))
    assert left.tolist() == [index for index in range(n) if index not in kept]


def test_the_registry():
    published = "none random sample spatial tome prumerge prumerge+ visionzip divprune fastv metacompress"
    assert [info.name for info in list_methods()] == published.split()
    for info in list_methods():
        assert info.title and info.description.endswith(".")
        assert info.prompt_dependent == (info.stage == "decoder") == (info.name == "fastv")
    with pytest.raises(UnknownMethodError, match="sample"):
        get_method("nope")
    with pytest.raises(InvalidOptionError):
        get_method("sample", seed=1)
    with pytest.raises(InvalidOptionError):
        get_method("metacompress")
