"""Numbers that a comparison cannot use: of 16 bits, too large, or none at all."""

import pytest
import torch

from compressor.methods.divprune import divprune_indices
from compressor.methods.prumerge import prumerge_plus_weights, prumerge_weights
from compressor.methods.similarity import nan_to_zero, normalize_rows
from compressor.methods.tome import in_raster_order, tome_weights
from compressor.methods.visionzip import visionzip_weights

METHODS = {
    "tome": lambda x: in_raster_order(tome_weights(x[1:], 58)),
    "prumerge": lambda x: prumerge_weights(x, x.flip(1), 58),
    "prumerge adaptive": lambda x: prumerge_weights(x, x.flip(1)),
    "prumerge+": lambda x: prumerge_plus_weights(x, x.flip(1), 58),
    "visionzip": lambda x: visionzip_weights(x.T, x, 49, 9),
    "divprune": lambda x: divprune_indices(x[1:], 58),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_16_bit_tokens_are_compared_in_float32(name, dtype):
    x = torch.randn(577, 16).to(dtype)
    assert torch.equal(METHODS[name](x), METHODS[name](x.float()))


@pytest.mark.parametrize("value", [1e30, -1e30, torch.inf, torch.nan])
@pytest.mark.parametrize("name", METHODS)
def test_extreme_numbers_leave_a_matrix(name, value):
    p = METHODS[name](torch.full((577, 16), value))
    assert bool(torch.isfinite(p).all()) and bool((p >= 0).all())


def test_only_what_is_not_finite_becomes_zero():
    x = torch.tensor([[3.0, torch.nan], [torch.inf, -4.0], [0.0, 0.0]], dtype=torch.float64)
    assert nan_to_zero(x).tolist() == [[3.0, 0.0], [0.0, -4.0], [0.0, 0.0]]
    assert normalize_rows(x).tolist() == [[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
