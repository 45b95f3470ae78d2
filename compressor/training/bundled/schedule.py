"""What both stages share: learning rate by step, checkpoints that resume a killed run, a JSON-lines log."""

import json
import math
import os
import time
from pathlib import Path

import torch
from torch import nn


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up, flat for half of the run, then a cosine down to 2 % of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = max(0.0, (step - steps / 2) / (steps / 2))
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def optimizer(parts: list[nn.Module], peak: float) -> torch.optim.AdamW:
    parameters = [p for part in parts for p in part.parameters() if p.requires_grad]
    return torch.optim.AdamW(parameters, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)


class Run:
    """The state of one stage on disk, ``<folder>/<stage>.pt``, and its log, ``log.jsonl``."""

    def __init__(self, folder: Path, stage: str, parts: dict[str, nn.Module], peak: float) -> None:
        self.path, self.log_path, self.stage = folder / f"{stage}.pt", folder / "log.jsonl", stage
        self.parts, self.peak = parts, peak
        self.optimizer = optimizer(list(parts.values()), peak)
        self.step, self.seconds, self._since = 0, 0.0, time.perf_counter()
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            saved = torch.load(self.path, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            if "optimizer" in saved:  # `save_weights` leaves it out: its averages then begin anew
                self.optimizer.load_state_dict(saved["optimizer"])
            self.step, self.seconds = saved["step"], saved["seconds"]

    def update(self, loss: torch.Tensor, steps: int) -> None:
        """One clipped optimiser step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, steps, self.peak)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.step += 1

    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self._since

    def log(self, **values: float | str | dict) -> None:
        line = json.dumps(
            {"stage": self.stage, "step": self.step, "seconds": round(self.elapsed(), 1), **values}
        )
        print(line, flush=True)
        with self.log_path.open("a") as file:
            file.write(line + "\n")

    def save(self) -> None:
        """Writes the state so that a kill at any moment leaves a whole file."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.elapsed()}
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)


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
