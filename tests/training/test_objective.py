"""Each loss against a formula written out with Python floats."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.training.objective import collapse_loss, entropy_loss, prediction_loss


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    exps = [math.exp(x - top) for x in row]
    return [e / sum(exps) for e in exps]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 7))
def test_prediction_loss_is_the_mean_kl(seed: int, t: int, v: int) -> None:
    teacher, student = torch.randn(
        2, t, v, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    expected = 0.0
    for p_row, q_row in zip(teacher.tolist(), student.tolist(), strict=True):
        expected += sum(p * math.log(p / q) for p, q in zip(softmax(p_row), softmax(q_row), strict=True)) / t
    assert prediction_loss(teacher, student).item() == pytest.approx(expected, abs=1e-12)
    assert prediction_loss(teacher, teacher).item() == pytest.approx(0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 7))
def test_entropy_and_collapse_follow_their_formulas(seed: int, m: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(m, n, dtype=torch.float64, generator=generator).mul(4).softmax(-1)
    rows = weights.tolist()
    entropy = sum(-sum(p * math.log(p) for p in row) for row in rows) / m
    load = max(sum(row[j] for row in rows) for j in range(n))
    assert entropy_loss(weights).item() == pytest.approx(entropy, abs=1e-12)
    assert collapse_loss(weights).item() == pytest.approx(load, abs=1e-12)


def test_one_hot_rows_have_no_entropy_and_a_finite_gradient() -> None:
    weights = torch.eye(3, 5, dtype=torch.float64).requires_grad_()
    loss = entropy_loss(weights)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(weights.grad).all()


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    teacher = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: prediction_loss(teacher, x), logits)
    assert torch.autograd.gradcheck(lambda x: entropy_loss(x.softmax(-1)), logits)
    assert torch.autograd.gradcheck(lambda x: collapse_loss(x.softmax(-1)), logits)


def test_a_batch_counts_as_the_mean_of_its_images() -> None:
    weights = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(1)).softmax(-1)
    for loss in (entropy_loss, collapse_loss):
        assert loss(weights).item() == pytest.approx(sum(loss(w).item() for w in weights) / 3, abs=1e-6)
