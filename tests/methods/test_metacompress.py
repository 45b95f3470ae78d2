"""MetaCompress against the formula of the paper in float64, and the properties the paper claims."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import get_method
from compressor.errors import InvalidOptionError, InvalidRateError, ModelMismatchError, ModelUnavailableError
from compressor.methods import metacompress
from compressor.methods.metacompress import MetaCompress, pool_windows, window_tokens
from tests.methods.test_laws import image_tokens


@given(st.integers(3, 400), st.data())
def test_windows_are_those_of_the_formula(n, data):
    m = data.draw(st.integers(1, n - 2))
    starts = [n - 3] if m == 1 else [math.floor(Fraction(i * (n - 3), m - 1)) for i in range(m)]
    assert pool_windows(n, m).tolist() == starts
    assert window_tokens(n, m).tolist() == [[start, start + 1, start + 2] for start in starts]


@pytest.mark.parametrize(("n", "m"), [(16, 5), (256, 26), (576, 58), (577, 173), (20, 18), (9, 1)])
def test_windows_are_those_of_torch(n, m):
    """torch computes positions in floating point: compared where that rounds as exact arithmetic does."""
    x = torch.randperm(n).double()[None, None, None, :].expand(1, 1, 3, n)
    pooled = torch.nn.functional.fractional_max_pool2d(
        x, kernel_size=(1, 3), output_size=(1, m), _random_samples=torch.zeros(1, 1, 2, dtype=torch.float64)
    )
    torch.testing.assert_close(pooled[0, 0, 0], x[0, 0, 0][window_tokens(n, m)].amax(-1))


@given(st.integers(2, 60), st.data())
def test_windows_of_large_budgets_stay_inside_and_in_order(n, data):
    m = data.draw(st.integers(max(2, n - 1), n))
    windows = window_tokens(n, m)
    assert windows.shape == (m, 3) and windows.min() == 0 and windows.max() == n - 1
    assert (pool_windows(n, m).diff() >= 0).all()


@pytest.mark.parametrize(("n", "m"), [(5, 0), (5, 6), (0, 0)])
def test_impossible_windows_are_refused(n, m):
    with pytest.raises(InvalidRateError):
        pool_windows(n, m)


@pytest.mark.parametrize("pool", ["max", "average"])
@pytest.mark.parametrize(("n", "m"), [(20, 6), (20, 1), (20, 19), (2, 1), (1, 1)])
def test_scores_equal_the_formula_row_by_row(pool, n, m):
    method = MetaCompress(10, 4, pool=pool).double()
    torch.nn.init.uniform_(method.scale, 0.5, 2.0)
    torch.nn.init.normal_(method.key)
    x = torch.randn(n, 10, dtype=torch.float64)
    xp = x + method.positions(n)
    expected = torch.empty(m, n, dtype=torch.float64)
    for i, window in enumerate(window_tokens(n, m).tolist()):
        rows = xp[window]
        q = (rows.max(0).values if pool == "max" else rows.sum(0) / 3) @ method.query
        for j in range(n):
            expected[i, j] = sum(
                q[c] * method.scale[c] * (xp[j] @ method.key)[c] for c in range(4)
            ) / math.sqrt(4)
    torch.testing.assert_close(method.scores(x, m), expected, atol=1e-10, rtol=0)
    batch = method.scores(torch.stack([x, x + 1]), m)
    torch.testing.assert_close(batch[0], expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(method(x, m).sum(-1), torch.ones(m, dtype=torch.float64))


def test_positions_have_the_tokens_norm_and_serve_any_n():
    method = MetaCompress(48, 8, token_norm=3.0)
    short, long = method.positions(10), method.positions(300)
    torch.testing.assert_close(long.norm(dim=1), torch.full((300,), 3.0))
    torch.testing.assert_close(long[:10], short)
    assert not MetaCompress(48, 8, positions="none").positions(5).any()


def test_the_logit_of_a_token_with_itself_starts_near_8():
    x = torch.nn.functional.normalize(torch.randn(400, 192), dim=-1) * 5
    for positions in ("sinusoidal", "none"):
        method = MetaCompress(192, 64, token_norm=5.0, positions=positions)
        xp = x + method.positions(400)
        own = ((xp @ method.query) * method.scale * (xp @ method.key)).sum(-1) / 8
        assert 6.5 < float(own.detach().median()) < 9.5


@pytest.mark.parametrize(("pool", "share"), [("max", 0.5), ("average", 0.9)])
def test_the_untrained_projection_is_close_to_the_sampling_staircase(pool, share):
    """Supplement 9: most rows start with their largest entry in their own window of 3 of the 256 tokens.

    Of independent tokens the maximum of a window resembles each of them less than their mean does.
    """
    x = torch.randn(256, 192)
    weights = MetaCompress(192, 64, pool=pool)(x, 26)
    windows = window_tokens(256, 26)
    inside = (weights.argmax(-1, keepdim=True) == windows).any(-1)
    assert inside.float().mean() >= share


def test_gradients_reach_every_parameter():
    method = MetaCompress(12, 4)
    (method(torch.randn(2, 20, 12), 5) ** 2).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert {name for name, _ in method.named_parameters()} == {"query", "key", "scale"}


def test_save_and_load(tmp_path):
    method = MetaCompress(12, 4, pool="average", model_name="m", seed=3)
    method.save(tmp_path, {"steps": 1})
    loaded = MetaCompress.load(tmp_path, model_name="m", d=12)
    x = torch.randn(9, 12)
    assert torch.equal(loaded.scores(x, 4), method.scores(x, 4))
    assert (method.label, loaded.label) == ("MetaCompress (untrained)", "MetaCompress")
    with pytest.raises(ModelMismatchError):
        MetaCompress.load(tmp_path, model_name="other")
    with pytest.raises(ModelMismatchError):
        MetaCompress.load(tmp_path, d=16)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ModelUnavailableError):
        MetaCompress.load(tmp_path)
    with pytest.raises(ModelUnavailableError):
        MetaCompress.load(tmp_path / "missing")


def test_get_method_takes_shipped_weights_or_says_untrained(model, image, tmp_path, monkeypatch):
    monkeypatch.setattr(metacompress, "COMPRESSORS", tmp_path)
    untrained = get_method("metacompress", model=model)
    assert not untrained.trained and "untrained" in untrained.label
    assert torch.equal(untrained.query, get_method("metacompress", model=model).query)
    torch.nn.init.normal_(untrained.key)
    untrained.save(tmp_path / model.name, {})
    trained = get_method("metacompress", model=model)
    assert trained.trained and torch.equal(trained.key, untrained.key)
    assert get_method("metacompress", model=model, pool="average").trained is False
    assert trained.projection(model.encode(image), 5).weights.requires_grad


@pytest.mark.parametrize("options", [{"pool": "median"}, {"positions": "polar"}, {"d_c": 0}, {"colour": 1}])
def test_bad_options_are_refused(model, options):
    with pytest.raises(InvalidOptionError):
        get_method("metacompress", model=model, **options)


def test_several_images_are_written_in_one_pass_and_as_one_by_one(monkeypatch):
    method, calls = MetaCompress(12, 4), []
    images = [image_tokens(rows, 7, seed) for rows, seed in ((6, 0), (6, 1), (5, 2), (6, 3), (6, 4))]
    budgets = [9, 9, 9, 4, 42]
    alone = [method.projection(tokens, m) for tokens, m in zip(images, budgets, strict=True)]
    forward = MetaCompress.forward
    monkeypatch.setattr(
        MetaCompress, "forward", lambda self, x, m: calls.append(tuple(x.shape)) or forward(self, x, m)
    )
    together = method.projections(images, budgets)
    assert calls == [(2, 42, 12), (35, 12), (42, 12)]
    for each, other, tokens in zip(together, alone, images, strict=True):
        torch.testing.assert_close(each.weights, other.weights)
        assert each.layout is tokens.layout and each.stage == "embedding"
    assert together[4].is_identity
    with pytest.raises(InvalidRateError):
        method.projections(images[:2], [0, 9])


def test_positions_are_computed_once_and_may_be_trained_through():
    method = MetaCompress(12, 4)
    with torch.inference_mode():
        long = method.positions(40)
    assert method.positions(30).data_ptr() == long.data_ptr() and not long.is_inference()
    assert len(method.positions(50)) == 50
    assert method.double().positions(50).dtype == torch.float64
    assert "_table" not in method.state_dict()
    (method(torch.randn(20, 12, dtype=torch.float64), 5) ** 2).sum().backward()
    assert method.query.grad is not None


def test_weights_that_are_not_finite_are_refused(tmp_path):
    method = MetaCompress(12, 4)
    with torch.no_grad():
        method.query[3, 1] = torch.nan
    method.save(tmp_path, {})
    with pytest.raises(ModelUnavailableError, match="not finite"):
        MetaCompress.load(tmp_path)
