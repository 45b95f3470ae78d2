"""The learning rates of both recipes are, to the last bit, those that their weights were trained with."""

import pytest

from compressor.training.bundled.schedule import learning_rate
from compressor.training.schedule import warmup_cosine
from compressor.training.settings import BUNDLED, PAPER


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (
            BUNDLED,
            {0: 5e-05, 19: 1e-3, 20: 1e-3, 21: 0.0009999959444481185, 137: 0.0009455032620941839,
             400: 0.0005201329700547076, 799: 4.055551881487763e-09},
        ),
        (PAPER, {0: 5e-05, 19: 1e-3, 20: 1e-3, 1260: 5e-4, 2499: 4.0117728444810655e-10}),
    ],
)  # fmt: skip
def test_a_compressor_is_trained_with_a_cosine_from_the_warm_up_to_zero(settings, rates) -> None:
    assert {step: settings.learning_rate(step) for step in rates} == rates


@pytest.mark.parametrize(
    ("steps", "lr", "rates"),
    [
        (2400, 1e-3, {0: 1e-05, 99: 1e-3, 100: 1e-3, 1200: 1e-3, 1201: 0.0009999983207974327,
                      1801: 0.0005087171844651651, 2399: 2.000167920256746e-05}),
        (601, 2e-3, {7: 0.00016, 300: 2e-3, 301: 0.0019999866110693367, 450: 0.0010276840164399794,
                     600: 4.0053555356809996e-05}),
    ],
)  # fmt: skip
def test_a_bundled_model_is_trained_at_a_constant_rate_for_half_of_the_run(steps, lr, rates) -> None:
    assert {step: learning_rate(step, steps, lr) for step in rates} == rates


def test_the_cosine_ends_at_its_floor() -> None:
    assert warmup_cosine(10, 10, 2.0, warmup=0, decay_from=4, floor=0.25) == 0.5
    assert warmup_cosine(7, 10, 2.0, warmup=0, decay_from=4) == pytest.approx(1.0)
