"""How to train: the settings, and the two recipes that the command line starts from."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from compressor import options
from compressor.errors import InvalidOptionError
from compressor.projection import token_budget

Clip = Literal["norm", "value", "none"]
Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Settings:
    """How to train a generator of P.

    Args:
        steps: updates; batch: dialogues of each, over all processes.
        micro_batch: dialogues of one forward pass; a batch is the sum of its passes.
        rates: reduction rates, one drawn per step, so that one set of weights serves them all.
        optimizer: AdamW or plain SGD.
        peak: its learning rate after `warmup` steps, then a cosine down to zero.
        entropy, collapse: lambda_e and lambda_c of equation 10.
        clip: maximum of the gradient; clip_by: of its norm or of each value (the paper does not say which).
        seed: of the order of dialogues and of the rates.
        checkpointing: run the decoder's layers again in the backward pass instead of keeping what is in them.
        validate_every, save_every: steps from one validation, or one checkpoint, to the next.
    Raises:
        InvalidOptionError: one is of a wrong type or out of range.
        InvalidRateError: a rate is.
    """

    steps: int = 600
    batch: int = 16
    micro_batch: int = 16
    rates: tuple[float, ...] = (0.9,)
    optimizer: Optimizer = "adamw"
    peak: float = 1e-3
    warmup: int = 20
    entropy: float = 1.0
    collapse: float = 1.0
    clip: float = 1e-2
    clip_by: Clip = "norm"
    seed: int = 0
    checkpointing: bool = False
    validate_every: int = 100
    save_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro_batch", "validate_every", "save_every"):
            options.whole_number(name, getattr(self, name), 1)
        options.whole_number("warmup", self.warmup, 0)
        options.seed("seed", self.seed)
        for name in ("peak", "entropy", "collapse", "clip"):
            options.number(name, getattr(self, name), 0)
        options.choice("clip_by", self.clip_by, get_args(Clip))
        options.choice("optimizer", self.optimizer, get_args(Optimizer))
        options.flag("checkpointing", self.checkpointing)
        if not self.rates:
            raise InvalidOptionError("Training needs at least one reduction rate.")
        for rate in self.rates:
            token_budget(1, rate)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to zero."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * done))


# What the paper gives (section 5, one rate, both penalties 1, clipping at 1e-2); about 20k dialogues twice in
# batches of 16 are 2,500 steps. The optimiser and its learning rate are not published: ours.
PAPER = Settings(steps=2500, checkpointing=True, micro_batch=4)
# For the bundled model: smaller penalties, and many rates at once.
BUNDLED = Settings(steps=800, rates=(0.5, 0.7, 0.8, 0.9, 0.9, 0.95, 0.95), entropy=0.01, collapse=0.03)
