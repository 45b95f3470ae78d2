"""The learning rate of every training here: a linear warm-up, then a cosine."""

import math


def warmup_cosine(
    step: int, steps: int, lr: float, *, warmup: int, decay_from: float, floor: float = 0.0
) -> float:
    """The learning rate of a step: linear warm-up, constant up to `decay_from`, then half a cosine.

    Args:
        step: number of the step, from 0.
        steps: updates of the whole run, at which the cosine ends.
        lr: learning rate after the warm-up.
        warmup: updates of the warm-up.
        decay_from: step at which the cosine begins.
        floor: share of `lr` at which the cosine ends.
    """
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = max(0.0, (step - decay_from) / max(1, steps - decay_from))
    return lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
