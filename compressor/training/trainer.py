"""Trains a generator of P on a frozen model: equation 10 over dialogues, on any number of processes.

Every step is a function of the settings, its number and the state before it, so that a run that is killed and
started again makes the same steps, and several processes make the steps of one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import record_function

from compressor import fingerprint
from compressor.errors import DivergedError, InvalidOptionError, TrainingError
from compressor.models.base import VisionLanguageModel
from compressor.projection import token_budget
from compressor.training.log import TrainingLog
from compressor.training.objective import collapse_loss, entropy_loss, prediction_loss
from compressor.training.run import ResumableRun
from compressor.training.settings import TrainingSettings
from compressor.training.teacher_cache import TrainingExample
from compressor.training.teacher_forcing import response_states

if TYPE_CHECKING:
    from accelerate import Accelerator

TERMS = ("prediction", "entropy", "collapse")
# of a step, as a profiler sees them
PARTS = ("read samples", "compressor forward", "student forward", "backward", "update")
CHECKPOINT = "checkpoint.pt"


@dataclass
class Best:
    """The generator with the lowest validation loss so far.

    Args:
        step: updates it has had.
        loss: mean of `losses`.
        losses: L_pred on the validation dialogues at each rate, in nats.
        weights: its parameters.
    """

    step: int
    loss: float
    losses: dict[str, float]
    weights: dict[str, Tensor]


def loss_terms(
    model: VisionLanguageModel,
    generator: nn.Module,
    samples: Sequence[TrainingExample],
    rate: float,
    checkpointed: bool = False,
) -> dict[str, Tensor]:
    """The three terms of equation 10 on some dialogues at one rate.

    Args:
        model: the frozen model.
        generator: from tokens (B, n, d) and a budget m to P (B, m, n).
        samples: B dialogues, whose n may differ.
        rate: share of the tokens to remove.
        checkpointed: as of `response_states`.
    Returns:
        "prediction", the mean over all response tokens; "entropy" and "collapse", the means over the images.
    """
    with record_function(PARTS[1]):
        images = [sample.image.float() for sample in samples]
        weights = [generator(image[None], token_budget(len(image), rate))[0] for image in images]  # (m, n)
        reduced = [p @ image for p, image in zip(weights, images, strict=True)]
    with record_function(PARTS[2]):
        states = response_states(model, reduced, [sample.text for sample in samples], checkpointed)
        teacher, student = (
            model.decoder.head(torch.cat(part)).float() for part in ([s.teacher for s in samples], states)
        )
    return {
        "prediction": prediction_loss(teacher, student),
        "entropy": torch.stack([entropy_loss(p) for p in weights]).mean(),
        "collapse": torch.stack([collapse_loss(p) for p in weights]).mean(),
    }


def draw_step(step: int, total: int, settings: TrainingSettings) -> tuple[list[int], float]:
    """The dialogues and the rate of a step: each epoch is a permutation of its own.

    Args:
        step: its number.
        total: number of dialogues.
        settings: of the run.
    """
    places = range(step * settings.batch, (step + 1) * settings.batch)
    rows = [int(_order(settings.seed, place // total, total)[place % total]) for place in places]
    return rows, float(np.random.default_rng([settings.seed, 1, step]).choice(settings.rates))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, total: int) -> np.ndarray:
    """The dialogues of an epoch in their order, (total,)."""
    return np.random.default_rng([seed, 0, epoch]).permutation(total)


class Trainer:
    """One run: `fit` makes its steps, from the last checkpoint in its folder where there is one.

    Args:
        model: the frozen model.
        generator: `MetaCompress` or another module from (tokens (B, n, d), budget) to P (B, m, n).
        samples: training examples.
        validation: examples by which the best state is chosen.
        settings: how to train.
        folder: for checkpoint and log.
        accelerator: of this process.
        about: what the run depends on beside its settings: fields as of `fingerprint`, of the model, of the
            dialogues and of the generator.
    Raises:
        InvalidOptionError: the batch cannot be shared evenly by the processes.
        TrainingError: the folder holds a run that depends on something else.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        generator: nn.Module,
        samples: Sequence[TrainingExample],
        validation: Sequence[TrainingExample],
        settings: TrainingSettings,
        folder: Path,
        accelerator: "Accelerator",
        about: fingerprint.Fields,
    ) -> None:
        if settings.batch % accelerator.num_processes:
            raise InvalidOptionError(
                f"A batch of {settings.batch} dialogues cannot be shared evenly by "
                f"{accelerator.num_processes} processes; choose a multiple."
            )
        self.model, self.generator, self.settings = model, generator, settings
        self.samples, self.validation = samples, validation
        self.folder, self.accelerator = folder, accelerator
        self.about = {**about, "settings": asdict(settings)}
        self.parameters = list(generator.parameters())
        kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        optimizer = kinds[settings.optimizer](self.parameters, lr=settings.lr, weight_decay=0.0)
        self.run = ResumableRun(folder / CHECKPOINT, {"generator": generator}, optimizer)
        state = self.run.resume(model.device, self._require_same_run)
        self.best = Best(**state["best"]) if state else Best(0, float("inf"), {}, {})
        self.log = TrainingLog(folder, self.about, self.step, accelerator.is_main_process)

    @property
    def step(self) -> int:
        """Updates so far."""
        return self.run.step

    def fit(self, progress: Any = None) -> Best:
        """Makes the steps that are left, and gives the generator its best state.

        Args:
            progress: an object with `update(steps)` and `set_postfix(...)`, such as a tqdm bar.
        Raises:
            DivergedError: a loss is no finite number.
        """
        last = self.settings.steps
        while self.step < last:
            line = self.advance()
            if progress is not None:
                progress.update(1)
                progress.set_postfix(L_pred=line["prediction"], rate=line["rate"])
            if self.step % self.settings.validate_every == 0 or self.step == last:
                self._validate()
            if self.step % self.settings.save_every == 0 or self.step == last:
                self._save()
        self.generator.load_state_dict(self.best.weights)
        return self.best

    def advance(self) -> dict[str, float]:
        """One step of the optimiser, written to the log: its rate, and the terms of its loss before it."""
        line = self._update()
        self.run.step += 1
        self.log.write({"step": self.step, **line})
        return line

    def _update(self) -> dict[str, float]:
        settings, world = self.settings, self.accelerator.num_processes
        rows, rate = draw_step(self.step, len(self.samples), settings)
        with record_function(PARTS[0]):
            mine = [self.samples[row] for row in rows[self.accelerator.process_index :: world]]
        device = self.model.device
        tokens = self._summed(torch.tensor(float(sum(len(sample.teacher) for sample in mine)), device=device))
        self.run.set_learning_rate(settings.learning_rate(self.step))
        self.run.optimizer.zero_grad(set_to_none=True)
        summed = torch.zeros(len(TERMS), device=device)
        for begin in range(0, len(mine), settings.micro_batch):
            part = mine[begin : begin + settings.micro_batch]
            terms = loss_terms(self.model, self.generator, part, rate, settings.checkpointing)
            # the means over these dialogues, as their share of the means over the batch
            share = sum(len(sample.teacher) for sample in part) / float(tokens)
            shares = torch.tensor([share, *[len(part) / settings.batch] * 2], device=device)
            values = torch.stack([terms[name] for name in TERMS]) * shares
            loss = (
                values * values.new_tensor([1.0, settings.lambda_entropy, settings.lambda_collapse])
            ).sum()
            with record_function(PARTS[3]):
                loss.backward()
            summed += values.detach()
        with record_function(PARTS[4]):
            for parameter in self.parameters:
                parameter.grad = self._summed(parameter.grad)
            norm = self._clip()
            self.run.optimizer.step()
        means = dict(zip(TERMS, self._summed(summed).tolist(), strict=True))
        if not np.isfinite([*means.values(), norm]).all():
            raise DivergedError(
                f"The losses are no longer finite numbers at step {self.step + 1}: "
                "lower the learning rate, or clip the gradient."
            )
        return {"rate": rate, **means, "gradient_norm": norm}

    def _summed(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        return self.accelerator.reduce(value, "sum") if self.accelerator.num_processes > 1 else value

    def _clip(self) -> float:
        """Bounds the gradient; its norm before."""
        bound = self.settings.max_grad if self.settings.clip_mode == "norm" else float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters, bound)
        if self.settings.clip_mode == "value":
            nn.utils.clip_grad_value_(self.parameters, self.settings.max_grad)
        return float(norm)

    @torch.no_grad()
    def _validate(self) -> None:
        """L_pred on the validation dialogues at every rate; the state is kept where it is the lowest yet."""
        losses = {}
        size, world = self.settings.micro_batch, self.accelerator.num_processes
        for rate in sorted(set(self.settings.rates)):
            total = torch.zeros(2, device=self.model.device)
            for begin in range(self.accelerator.process_index * size, len(self.validation), world * size):
                part = [self.validation[i] for i in range(begin, min(begin + size, len(self.validation)))]
                tokens = sum(len(sample.teacher) for sample in part)
                value = loss_terms(self.model, self.generator, part, rate)["prediction"]
                total += torch.stack([value * tokens, value.new_tensor(float(tokens))])
            weighted, tokens = self._summed(total).tolist()
            losses[str(rate)] = weighted / tokens
        loss = float(np.mean(list(losses.values())))
        self.log.write({"step": self.step, "validation": losses, "mean": loss})
        if loss < self.best.loss:
            weights = {
                name: value.detach().cpu().clone() for name, value in self.generator.state_dict().items()
            }
            self.best = Best(self.step, loss, losses, weights)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self.run.save(about=self.about, best=asdict(self.best))

    def _require_same_run(self, state: dict[str, Any]) -> None:
        """Refuse a checkpoint of a run that depends on something else."""
        if refusal := fingerprint.refusal(self.folder, state["about"], self.about):
            raise TrainingError(refusal)
