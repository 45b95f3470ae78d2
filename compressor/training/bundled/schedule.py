"""What the stages share: their learning rate, checkpoints that resume a killed run, a JSON-lines log."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compressor.training.run import ResumableRun
from compressor.training.schedule import warmup_cosine


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, flat for half of the run, then a cosine down to 2 % of the peak."""
    return warmup_cosine(step, steps, peak, warmup=warmup, decay_from=steps / 2, floor=0.02)


def optimizer(parts: list[nn.Module], peak: float) -> torch.optim.AdamW:
    """AdamW for what is not frozen."""
    parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)


class Run(ResumableRun):
    """The state of one stage on disk, ``<folder>/<stage>.pt``, and its log, ``log.jsonl``."""

    def __init__(self, folder: Path, stage: str, parts: dict[str, nn.Module], peak: float) -> None:
        super().__init__(folder / f"{stage}.pt", parts, optimizer(list(parts.values()), peak))
        self.log_path, self.stage, self.peak = folder / "log.jsonl", stage, peak
        self._since = time.perf_counter()
        self.seconds: float = self.resume().get("seconds", 0.0)

    def update(self, loss: torch.Tensor, steps: int) -> None:
        """One clipped optimiser step."""
        self.set_learning_rate(learning_rate(self.step, steps, self.peak))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.step += 1

    def elapsed(self) -> float:
        """Seconds of training, those before a kill included."""
        return self.seconds + time.perf_counter() - self._since

    def log(self, **values: float | str | dict) -> None:
        """Print a line and append it to the log."""
        line = json.dumps(
            {"stage": self.stage, "step": self.step, "seconds": round(self.elapsed(), 1), **values}
        )
        print(line, flush=True)
        with self.log_path.open("a") as file:
            file.write(line + "\n")

    def save(self, **fields: Any) -> None:
        """Write the state of the stage, its seconds among it."""
        super().save(seconds=self.elapsed(), **fields)


def save_weights(path: Path, target: Path) -> None:
    """Writes the state of a stage small enough to hand over: float16, without the optimizer.

    A run that goes on from it has the same schedule, but not the very weights of one that was not stopped.
    """

    def half(value: object) -> object:
        if isinstance(value, dict):
            return {key: half(inner) for key, inner in value.items()}
        return value.half() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    state = torch.load(path, weights_only=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: half(value) for key, value in state.items() if key != "optimizer"}, target)
