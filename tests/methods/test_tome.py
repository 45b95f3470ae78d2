"""ToMe against the published code's numbers, and the laws of a partition."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.methods.tome import in_raster_order, match, tome_weights

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("kind", ["x", "key"])
@pytest.mark.parametrize("m", [10, 16, 50])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_iterated_merging_is_the_published_one(kind, m, dtype, tolerance):
    data = np.load(FIXTURES / f"tome_n64_m{m}_{kind}.npz")
    x = torch.from_numpy(data["x"]).to(dtype)
    p = tome_weights(x if kind == "x" else torch.from_numpy(data["metric"]).to(dtype), m)
    assert p.dtype == dtype
    assert torch.equal(p > 0, torch.from_numpy(data["source"]))
    torch.testing.assert_close(p.double(), torch.from_numpy(data["P"]), atol=tolerance, rtol=0)
    torch.testing.assert_close(
        (p @ x).double(), torch.from_numpy(data["out_f64"]), atol=tolerance * 10, rtol=0
    )
    torch.testing.assert_close(1 / p.amax(1).double(), torch.from_numpy(data["size"]))


@pytest.mark.parametrize("cls", [False, True])
@pytest.mark.parametrize("r", [1, 8, 32])
def test_one_round_is_the_published_one(cls, r):
    data = np.load(FIXTURES / f"tome_step_n64{'cls' if cls else ''}_r{r}.npz")
    places = match(torch.from_numpy(data["metric"]).double(), int(data["r"]), class_token=cls)
    source = torch.nn.functional.one_hot(places, int(places.max()) + 1).T
    assert torch.equal(source.bool(), torch.from_numpy(data["source"]))
    p = source.double() / source.sum(1, keepdim=True)
    x = torch.from_numpy(data["x"])
    torch.testing.assert_close(p @ x.double(), torch.from_numpy(data["out_f64"]), atol=1e-9, rtol=0)


@given(st.integers(2, 70), st.integers(0, 10_000), st.data())
def test_rows_average_the_groups_of_a_partition(n, seed, data):
    m = data.draw(st.integers(1, n))
    metric = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    p = tome_weights(metric, m)
    assert p.shape == (m, n) and bool((p >= 0).all())
    torch.testing.assert_close(p.sum(1), torch.ones(m, dtype=torch.float64))
    assert bool(((p > 0).sum(0) == 1).all())
    assert torch.equal(p, tome_weights(metric, m))
    ordered = in_raster_order(p)
    centroids = ordered @ torch.arange(n, dtype=torch.float64)
    assert bool((centroids.diff() >= -1e-9).all())  # equal ones differ by rounding
