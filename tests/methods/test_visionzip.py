"""VisionZip against the published code's numbers, and the laws of its rows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import get_method
from compressor.errors import InvalidOptionError
from compressor.methods.visionzip import visionzip_weights
from compressor.world import scenes

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize(("dominant", "contextual"), [(8, 4), (16, 8), (30, 10)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_it_is_the_published_one(dominant, contextual, dtype, tolerance):
    data = np.load(FIXTURES / f"visionzip_n64_d{dominant}_c{contextual}.npz")
    for row in range(2):
        attention = torch.from_numpy(data["cls_row"][row]).to(dtype)
        p = visionzip_weights(
            attention, torch.from_numpy(data["metric"][row]).to(dtype), dominant, contextual
        )
        assert p.dtype == dtype
        torch.testing.assert_close(p.double(), torch.from_numpy(data["P"][row]), atol=tolerance, rtol=0)
        kept = p[:dominant].argmax(1).tolist()
        assert kept == np.flatnonzero(data["kept_mask"][row]).tolist()
        out = p.double() @ torch.from_numpy(data["hidden"][row]).double()
        torch.testing.assert_close(out, torch.from_numpy(data["out_f64"][row]), atol=tolerance * 10, rtol=0)


@given(st.integers(2, 70), st.integers(0, 10_000), st.data())
def test_rows_sum_to_1_and_contextual_ones_to_2(n, seed, data):
    dominant = data.draw(st.integers(1, n))
    contextual = data.draw(st.integers(0, n + 1 - dominant))
    draw = torch.Generator().manual_seed(seed)
    attention = torch.rand(3, n + 1, generator=draw, dtype=torch.float64).softmax(-1)
    keys = torch.randn(n + 1, 6, generator=draw, dtype=torch.float64)
    p = visionzip_weights(attention, keys, dominant, contextual)
    assert p.shape == (dominant + contextual, n + 1) and bool((p >= 0).all())
    assert p[0, 0] == 1 and p[1:, 0].sum() == 0
    assert bool((p[:dominant].sum(1) == 1).all())
    assert bool((p[:dominant].argmax(1).diff() > 0).all())  # raster order
    alone = (p[dominant:] > 0).sum(1) == 1
    torch.testing.assert_close(p[dominant:].sum(1), torch.where(alone, 1.0, 2.0).double())
    assert torch.equal(p, visionzip_weights(attention, keys, dominant, contextual))


@pytest.mark.parametrize(("dominant", "contextual"), [(0, 1), (66, 0), (60, 6), (5, -1)])
def test_more_tokens_than_there_are_cannot_be_had(dominant, contextual):
    with pytest.raises(InvalidOptionError, match=r"from 65 \(including \[CLS\]\)"):
        visionzip_weights(torch.rand(2, 65), torch.randn(65, 4), dominant, contextual)


@pytest.mark.parametrize("m", [1, 2, 6, 13, 64, 255])
@pytest.mark.parametrize("kept", [True, False])
def test_the_class_token_is_a_column_or_is_not_there(tiny, kept, m):
    method = get_method("visionzip", model=tiny, class_token=kept)
    tokens = tiny.encode(scenes.scene(1).image, method.needs)
    p = method.projection(tokens, m)
    assert (p.m, p.n) == (m, 256 + kept)
    if kept:
        assert p.weights[0, 0] == 1 and np.isnan(p.layout.boxes[0]).all() and p.layout.kinds[0] == 3
        assert p.layout.grids[0].indices()[0, 0] == 1
    features = torch.cat([tokens.cls_feature[None], tokens.features]) if kept else tokens.features
    expected = tiny.hf.model.multi_modal_projector(p.weights @ features)
    torch.testing.assert_close(tiny.compress(tokens, p), expected)
