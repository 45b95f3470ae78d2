"""PruMerge and PruMerge+ against the published code's numbers, and the laws of their rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import InvalidOptionError
from compressor.methods.prumerge import outlier_ratio, prumerge_plus_weights, prumerge_weights

FIXTURES = Path(__file__).parents[1] / "fixtures"
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])


def load(name, dtype):
    data = np.load(FIXTURES / f"{name}.npz")
    return data, torch.from_numpy(data["q"]).to(dtype), torch.from_numpy(data["k"]).to(dtype)


def check(p, data, dtype, tolerance):
    assert p.dtype == dtype
    torch.testing.assert_close(p.double(), torch.from_numpy(data["P"]), atol=tolerance, rtol=0)
    out = p.double() @ torch.from_numpy(data["feat"][1:]).double()
    torch.testing.assert_close(out, torch.from_numpy(data["out_f64"]), atol=tolerance * 100, rtol=0)


@pytest.mark.parametrize("name", ["adaptive", "m9", "m17", "m33"])
@PRECISIONS
def test_prumerge_is_the_published_one(name, dtype, tolerance):
    data, queries, keys = load(f"prumerge_n64_{name}", dtype)
    budget = None if data["adaptive"] else len(data["P"])
    p = prumerge_weights(queries, keys, budget)
    check(p, data, dtype, tolerance)
    assert p[:-1].argmax(1).tolist() == data["idx_topk"].tolist()
    assert p[-1].nonzero()[:, 0].tolist() == data["complement"].tolist()


@pytest.mark.parametrize(("name", "ratio"), [("adaptive", None), ("fixed16", 1 / 16)])
@PRECISIONS
def test_prumerge_plus_is_the_published_one(name, ratio, dtype, tolerance):
    data, queries, keys = load(f"prumergeplus_n64_{name}", dtype)
    p = prumerge_plus_weights(queries, keys, ratio=ratio)
    check(p, data, dtype, tolerance)
    assert p[:-1].argmax(1).tolist() == data["idx_all"].tolist()


def test_the_share_of_outliers_is_the_published_one():
    data = np.load(FIXTURES / "prumerge_outlier_n64.npz")
    assert outlier_ratio(torch.from_numpy(data["cls_attn"])) == data["ratio"]


@given(st.integers(33, 90), st.integers(0, 10_000), st.data())
def test_rows_at_an_exact_budget(n, seed, data):
    m = data.draw(st.integers(1, n - 1))
    draw = torch.Generator().manual_seed(seed)
    queries, keys = (torch.randn(n + 1, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    attention = (queries[0] @ keys.T * 8**-0.5).softmax(-1)[1:]
    for weights in (prumerge_weights, prumerge_plus_weights):
        p = weights(queries, keys, budget=m)
        assert p.shape == (m, n) and bool((p >= 0).all())
        assert torch.equal(p, weights(queries, keys, budget=m))
        kept = p[:-1].argmax(1)
        assert len(set(kept.tolist())) == m - 1
        own = torch.ones(m - 1, dtype=torch.float64)
        assert torch.equal(p[torch.arange(m - 1), kept], own)
        assert bool(((p[:-1] > 0).sum(1) == 33).all())
        neighbours = (p[:-1] > 0).double() @ attention - attention[kept]
        torch.testing.assert_close(p[:-1].sum(1), own + neighbours)
        others = torch.ones(n, dtype=torch.bool)
        others[kept] = False
        torch.testing.assert_close(p[-1], attention * others)


@pytest.mark.parametrize("weights", [prumerge_weights, prumerge_plus_weights])
def test_fewer_than_33_patches_are_refused(weights):
    with pytest.raises(InvalidOptionError, match="at least 33 patches, not 32"):
        weights(torch.randn(33, 8), torch.randn(33, 8), budget=5)


def test_no_outliers_leave_one_token_or_no_stride():
    flat = torch.zeros(65, 8)
    assert prumerge_weights(flat, flat).shape == (1, 64)
    with pytest.raises(InvalidOptionError, match="exact budget"):
        prumerge_plus_weights(flat, flat)
    for ratio in (0.0, 0.5, -1.0):
        with pytest.raises(InvalidOptionError, match="at most 1/3"):
            prumerge_plus_weights(torch.randn(65, 8), torch.randn(65, 8), ratio=ratio)


def test_every_outlier_is_kept_though_its_share_is_no_whole_float():
    """13 / 2880 * 2880 is a little less than 13."""
    queries, keys = torch.ones(2881, 1), torch.zeros(2881, 1)
    keys[1:14] = 5.0
    assert len(prumerge_weights(queries, keys)) == 14


def test_a_patch_chosen_twice_is_one_row():
    queries, keys = torch.randn(65, 8), torch.randn(65, 8)
    kept = prumerge_plus_weights(queries, keys, ratio=1 / 8)[:-1].argmax(1).tolist()
    assert len(set(kept)) == len(kept)
