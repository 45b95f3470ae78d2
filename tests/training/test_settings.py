"""Settings are checked when they are made, and the learning rate rises and falls."""

import pytest

from compressor.errors import InvalidOptionError, InvalidRateError
from compressor.training.settings import BUNDLED, PAPER, Settings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": "3"}, "steps must be a whole number of at least 1, not '3' of type str"),
        ({"micro_batch": 2.5}, "micro_batch must be a whole number of at least 1, not 2.5 of type float"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, not -1"),
        ({"peak": float("nan")}, "peak must be a number of at least 0, not nan"),
        ({"clip": None}, "clip must be a number of at least 0, not None"),
        ({"seed": 2**70}, "seed must be a whole number from 0 to"),
        ({"checkpointing": "yes"}, "checkpointing must be True or False"),
        ({"clip_by": "size"}, "clip_by must be one of norm, value, none, not 'size'"),
        ({"optimizer": "lion"}, "optimizer must be one of adamw, sgd, not 'lion'"),
        ({"rates": ()}, "at least one reduction rate"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict, said: str) -> None:
    with pytest.raises(InvalidOptionError, match=said):
        Settings(**wrong)


def test_a_rate_is_checked() -> None:
    with pytest.raises(InvalidRateError):
        Settings(rates=(1.0,))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    rates = [BUNDLED.learning_rate(step) for step in range(BUNDLED.steps)]
    assert max(rates) == BUNDLED.peak
    assert rates.index(max(rates)) in (BUNDLED.warmup - 1, BUNDLED.warmup)
    assert rates[-1] < 1e-4 * BUNDLED.peak
    assert all(a > b for a, b in zip(rates[BUNDLED.warmup :], rates[BUNDLED.warmup + 1 :], strict=False))


@pytest.mark.parametrize("warmup", [1, 4, 20])
def test_the_warm_up_begins_above_zero_and_rises_evenly_to_the_peak(warmup) -> None:
    settings = Settings(steps=100, peak=0.5, warmup=warmup)
    rates = [settings.learning_rate(step) for step in range(warmup)]
    assert rates == pytest.approx([0.5 * (step + 1) / warmup for step in range(warmup)])
    assert rates[0] > 0


def test_the_papers_recipe_is_the_papers() -> None:
    assert (PAPER.entropy, PAPER.collapse, PAPER.clip, PAPER.rates) == (1.0, 1.0, 1e-2, (0.9,))
