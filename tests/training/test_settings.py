"""TrainingSettings are checked when they are made, and the learning rate rises and falls."""

import pytest

from compressor.errors import InvalidOptionError, InvalidRateError
from compressor.training.settings import BUNDLED, PAPER, TrainingSettings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": "3"}, "steps must be a whole number of at least 1, not '3' of type str"),
        ({"micro_batch": 2.5}, "micro_batch must be a whole number of at least 1, not 2.5 of type float"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, not -1"),
        ({"lr": float("nan")}, "lr must be a number of at least 0, not nan"),
        ({"max_grad": None}, "max_grad must be a number of at least 0, not None"),
        ({"seed": 2**70}, "seed must be a whole number from 0 to"),
        ({"checkpointing": "yes"}, "checkpointing must be True or False"),
        ({"clip_mode": "size"}, "clip_mode must be one of norm, value, none, not 'size'"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, sgd, not 'lion'"),
        ({"rates": ()}, "at least one reduction rate"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict, said: str) -> None:
    with pytest.raises(InvalidOptionError, match=said):
        TrainingSettings(**wrong)


def test_a_rate_is_checked() -> None:
    with pytest.raises(InvalidRateError):
        TrainingSettings(rates=(1.0,))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [BUNDLED.learning_rate(step) for step in range(BUNDLED.steps)]
    assert max(rates) == BUNDLED.lr
    assert rates.index(max(rates)) in (BUNDLED.warmup - 1, BUNDLED.warmup)
    assert rates[-1] < 1e-4 * BUNDLED.lr
    assert all(a > b for a, b in zip(rates[BUNDLED.warmup :], rates[BUNDLED.warmup + 1 :], strict=False))


@pytest.mark.parametrize("warmup", [1, 4, 20])
def test_the_warm_up_begins_above_zero_and_rises_evenly_to_the_peak(warmup) -> None:
    settings = TrainingSettings(steps=100, lr=0.5, warmup=warmup)
    rates = [settings.learning_rate(step) for step in range(warmup)]
    assert rates == pytest.approx([0.5 * (step + 1) / warmup for step in range(warmup)])
    assert rates[0] > 0


def test_the_papers_recipe_is_the_papers() -> None:
    assert (PAPER.lambda_entropy, PAPER.lambda_collapse, PAPER.max_grad, PAPER.rates) == (
        1.0,
        1.0,
        1e-2,
        (0.9,),
    )
