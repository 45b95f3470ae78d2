"""DivPrune against the published code's numbers, and where that code repeats a token."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.methods.divprune import divprune_indices

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("m", [8, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_published_one(m, dtype):
    data = np.load(FIXTURES / f"divprune_n64_m{m}.npz")
    assert divprune_indices(torch.from_numpy(data["x"]).to(dtype), m).tolist() == data["kept_sorted"].tolist()


@given(st.integers(1, 60), st.integers(0, 10_000), st.data())
def test_m_different_tokens_far_from_each_other(n, seed, data):
    m = data.draw(st.integers(1, n))
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = divprune_indices(x, m)
    assert len(kept) == m and bool((kept.diff() > 0).all()) and kept.min() >= 0 and kept.max() < n
    assert torch.equal(kept, divprune_indices(x, m))


@pytest.mark.parametrize("x", [torch.zeros(9, 4), torch.ones(9, 4), torch.full((9, 4), torch.nan)])
def test_tokens_that_are_alike_are_still_m_different_ones(x):
    kept = divprune_indices(x, 6)
    assert len(set(kept.tolist())) == 6
