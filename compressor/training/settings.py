"""How to train: the settings, and the two recipes that the command line starts from."""

from dataclasses import dataclass
from typing import Literal, get_args

from compressor import options
from compressor.errors import InvalidOptionError
from compressor.projection import token_budget
from compressor.training.schedule import warmup_cosine

ClipMode = Literal["norm", "value", "none"]
Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train a generator of P.

    Args:
        steps: updates.
        batch: dialogues of each update, over all processes.
        micro_batch: dialogues of one forward pass; a batch is the sum of its passes.
        rates: reduction rates, one drawn per step, so that one set of weights serves them all.
        optimizer: AdamW or plain SGD.
        lr: learning rate after the warm-up, then a cosine down to zero.
        warmup: updates of the linear warm-up.
        lambda_entropy: lambda_e of equation 10.
        lambda_collapse: lambda_c of equation 10.
        max_grad: maximum of the gradient.
        clip_mode: what is bounded by `max_grad`: the norm, each value or nothing (the paper does not say).
        seed: of the order of dialogues and of the rates.
        checkpointing: recompute the decoder's activations in the backward pass instead of storing them.
        validate_every: steps from one validation to the next.
        save_every: steps from one checkpoint to the next.
    Raises:
        InvalidOptionError: one is of a wrong type or out of range.
        InvalidRateError: a rate is.
    """

    steps: int = 600
    batch: int = 16
    micro_batch: int = 16
    rates: tuple[float, ...] = (0.9,)
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    warmup: int = 20
    lambda_entropy: float = 1.0
    lambda_collapse: float = 1.0
    max_grad: float = 1e-2
    clip_mode: ClipMode = "norm"
    seed: int = 0
    checkpointing: bool = False
    validate_every: int = 100
    save_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "micro_batch", "validate_every", "save_every"):
            options.whole_number(name, getattr(self, name), 1)
        options.whole_number("warmup", self.warmup, 0)
        options.seed("seed", self.seed)
        for name in ("lr", "lambda_entropy", "lambda_collapse", "max_grad"):
            options.number(name, getattr(self, name), 0)
        options.choice("clip_mode", self.clip_mode, get_args(ClipMode))
        options.choice("optimizer", self.optimizer, get_args(Optimizer))
        options.flag("checkpointing", self.checkpointing)
        if not self.rates:
            raise InvalidOptionError("Training needs at least one reduction rate.")
        for rate in self.rates:
            token_budget(1, rate)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to zero."""
        return warmup_cosine(step, self.steps, self.lr, warmup=self.warmup, decay_from=self.warmup)


# What the paper gives (section 5, one rate, both penalties 1, clipping at 1e-2); about 20k dialogues twice in
# batches of 16 are 2,500 steps. The optimiser and its learning rate are not published: ours.
PAPER = TrainingSettings(steps=2500, checkpointing=True, micro_batch=4)
# For the bundled model: smaller penalties, and many rates at once.
BUNDLED = TrainingSettings(
    steps=800, rates=(0.5, 0.7, 0.8, 0.9, 0.9, 0.95, 0.95), lambda_entropy=0.01, lambda_collapse=0.03
)
