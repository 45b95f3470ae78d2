"""A training run on disk: one checkpoint file, from which a killed run resumes."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

OWN_FIELDS = ("optimizer", "step")


class ResumableRun:
    """Trained modules with their optimizer and the number of updates, saved to one file.

    Args:
        path: of the checkpoint; its folder is created.
        modules: to be saved, by the names that they have in the checkpoint.
        optimizer: of their parameters.
    """

    def __init__(
        self, path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
    ) -> None:
        self.path, self.modules, self.optimizer = path, modules, optimizer
        self.step = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def resume(
        self, device: torch.device | str | None = None, check: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Load the checkpoint, if there is one.

        Args:
            device: where its tensors go; where they were if None.
            check: called with the whole checkpoint before anything is loaded; raises to refuse it.
        Returns:
            The further fields that `save` wrote; empty without a checkpoint.
        """
        if not self.path.exists():
            return {}
        state = torch.load(self.path, weights_only=True, map_location=device)
        if check is not None:
            check(state)
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        if "optimizer" in state:  # a checkpoint to hand over has none: the averages then begin anew
            self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        return {name: value for name, value in state.items() if name not in (*self.modules, *OWN_FIELDS)}

    def set_learning_rate(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def save(self, **fields: Any) -> None:
        """Write the checkpoint with further fields, so that a kill at any moment leaves a whole file."""
        state = {name: module.state_dict() for name, module in self.modules.items()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, **fields}
        part = self.path.with_name(f"{self.path.name}.part")
        torch.save(state, part)
        os.replace(part, self.path)
