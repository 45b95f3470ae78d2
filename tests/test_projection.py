"""P: what it refuses, what it says of the tokens, and that it survives the disk."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor import Projection, token_budget
from compressor.errors import InvalidProjectionError, InvalidRateError
from compressor.geometry import llava_layout, llava_next_layout

LAYOUT = llava_layout((28, 28), image_size=28)  # 4 tokens


@given(st.integers(1, 4000), st.floats(0, 1, exclude_max=True))
def test_budget_is_the_rounded_rest_and_at_least_1(n, rate):
    m = token_budget(n, rate)
    assert 1 <= m <= n and (m == 1 or abs(m - n * (1 - rate)) <= 0.5 + 1e-9)


def test_budgets_of_the_paper():
    assert [token_budget(576, rate) for rate in (0, 0.7, 0.9)] == [576, 173, 58]


@pytest.mark.parametrize(
    ("rate", "given"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (-0.01, "-0.01"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (None, "None"),
        ("0.5", "'0.5' of type str"),
        ("0", "'0' of type str"),
        (True, "True of type bool"),
        ([0.5], "[0.5] of type list"),
        (0.5j, "0.5j of type complex"),
    ],
)
def test_bad_rates_are_refused_and_shown_with_a_wrong_type(rate, given):
    with pytest.raises(InvalidRateError) as error:
        token_budget(576, rate)
    assert str(error.value) == f"The compression rate must be at least 0 and below 1, not {given}."


def test_rates_of_numpy_are_rates():
    assert [token_budget(576, kind(0.75)) for kind in (np.float32, np.float64, np.float16)] == [144] * 3


@pytest.mark.parametrize(
    "weights",
    [
        torch.ones(4),
        torch.ones(0, 4),
        torch.ones(2, 3),
        torch.tensor([[0.0, 0, 0, -1]]),
        torch.tensor([[0.0, 0, 0, float("nan")]]),
        torch.tensor([[0.0, 0, 0, float("inf")]]),
    ],
)
def test_bad_matrices_are_refused(weights):
    with pytest.raises(InvalidProjectionError):
        Projection(weights, LAYOUT)


def test_bad_stage_is_refused():
    with pytest.raises(InvalidProjectionError):
        Projection(torch.eye(4), LAYOUT, "nowhere")


def test_apply_is_the_product_in_the_dtype_of_the_tokens():
    p = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.25, 0.75]])
    x = torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(Projection(p, LAYOUT).apply(x), p.double() @ x, atol=1e-12, rtol=0)
    for dtype in (torch.float16, torch.bfloat16):
        thirds, few = torch.rand(2, 4), 100 * x.to(dtype)
        made = Projection(thirds, LAYOUT).apply(few)
        assert made.dtype == dtype and torch.equal(made, (thirds @ few.float()).to(dtype))
    identity = Projection.identity(LAYOUT)
    assert identity.apply(x) is x
    with pytest.raises(InvalidProjectionError):
        identity.apply(x[:3])


def test_the_graph_is_kept():
    raw = torch.zeros(2, 4, requires_grad=True)
    projection = Projection(raw.softmax(-1), LAYOUT)
    projection.apply(torch.randn(4, 3)).sum().backward()
    assert raw.grad is not None and not projection.retention().requires_grad


def test_roles_retention_and_entropy():
    projection = Projection(torch.tensor([[0.5, 0.3, 0.2, 0], [0, 0.4, 0.6, 0]]), LAYOUT)
    assert projection.roles() == ["kept", "merged", "kept", "pruned"]
    torch.testing.assert_close(projection.retention(), torch.tensor([0.5, 0.7, 0.8, 0.0]))
    expected = [
        -(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2)),
        -(0.4 * np.log(0.4) + 0.6 * np.log(0.6)),
    ]
    torch.testing.assert_close(projection.entropy(), torch.tensor(expected, dtype=torch.float32))
    assert projection.roles(share=0.55) == ["merged", "merged", "kept", "pruned"]
    unnormalised = Projection(projection.weights * torch.tensor([[3.0], [0.01]]), LAYOUT)
    torch.testing.assert_close(unnormalised.entropy(), projection.entropy())
    assert Projection(torch.zeros(1, 4), LAYOUT).entropy().tolist() == [0.0]


@pytest.mark.parametrize("scale", [1e-5, 0.1, 1.0, 3.0])
def test_roles_are_shares_of_a_row_whatever_it_sums_to(scale):
    """Rows of PruMerge and VisionZip do not sum to 1."""
    rows = torch.tensor([[0.45, 0.35, 0.2, 0.0], [0.0, 0.0, 0.4, 0.6]])
    assert Projection(rows * scale, LAYOUT).roles() == ["merged", "merged", "merged", "kept"]
    mixed = rows * scale * torch.tensor([[2.0], [0.5]])
    assert Projection(mixed, LAYOUT).roles() == ["merged", "merged", "merged", "kept"]
    assert Projection(torch.tensor([[0.5, 0.3, 0.2, 0.0]]) * scale, LAYOUT).roles()[0] == "kept"


def test_a_row_of_zeros_keeps_nothing():
    projection = Projection(torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0]]), LAYOUT)
    assert projection.roles() == ["kept", "pruned", "pruned", "pruned"]
    assert Projection(torch.zeros(1, 4), LAYOUT).roles() == ["pruned"] * 4


def test_save_and_load(tmp_path):
    saved = Projection(torch.rand(3, 4), llava_layout((40, 28), image_size=28), "vision")
    saved.save(tmp_path / "p.npz")
    loaded = Projection.load(tmp_path / "p.npz")
    assert torch.equal(loaded.weights, saved.weights)
    assert loaded.layout == saved.layout and loaded.stage == "vision"
    assert saved.cpu().stage == "vision" and saved.cpu().layout == saved.layout


def test_grids_whose_rows_end_in_separators_are_saved_and_loaded():
    layout = llava_next_layout((64, 64), [(84, 168), (168, 168)], image_size=84)
    assert any(grid.stride != grid.columns for grid in layout.grids)
    file = io.BytesIO()
    Projection.identity(layout).save(file)
    file.seek(0)
    loaded = Projection.load(file)
    assert loaded.layout == layout and loaded.layout.grids == layout.grids and loaded.is_identity


def test_damaged_files_are_refused(tmp_path):
    for content in (b"", b"nonsense", b"PK\x03\x04broken"):
        with pytest.raises(InvalidProjectionError):
            Projection.load(io.BytesIO(content))
    with pytest.raises(InvalidProjectionError):
        Projection.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "pickled.npz", weights=np.array([object()], dtype=object), meta=np.array("{}"))
    with pytest.raises(InvalidProjectionError):
        Projection.load(tmp_path / "pickled.npz")


def test_what_is_trusted_is_looked_at_when_asked():
    p = Projection(torch.tensor([[0.5, 0.5, 0, 0], [0, 0, torch.nan, 1]]), LAYOUT, trusted=True)
    with pytest.raises(InvalidProjectionError):
        p.require_valid()
    with pytest.raises(InvalidProjectionError):
        p.cpu()
    with pytest.raises(InvalidProjectionError):
        Projection(torch.ones(2, 3), LAYOUT, trusted=True)  # shapes cost nothing to check
    Projection(torch.eye(4), LAYOUT, trusted=True).require_valid()


def test_a_square_matrix_is_compared_with_the_identity():
    assert Projection(torch.eye(4), LAYOUT).is_identity
    assert not Projection(torch.eye(4).flip(0), LAYOUT).is_identity
    assert not Projection(torch.eye(4)[:3], LAYOUT).is_identity


def test_roles_are_computed_once_and_belong_to_whoever_asked(monkeypatch):
    projection = Projection(torch.tensor([[0.6, 0.4, 0.0, 0.0]]), LAYOUT)
    computed, retention = [], Projection.retention
    monkeypatch.setattr(Projection, "retention", lambda self: computed.append(1) or retention(self))
    projection.roles().clear()
    assert projection.roles() == ["kept", "merged", "pruned", "pruned"] and len(computed) == 1
    assert projection.roles(share=0.7) == ["merged", "merged", "pruned", "pruned"] and len(computed) == 2
