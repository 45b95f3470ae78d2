"""The stages of the recipe of ``small``, each of which leaves ``<stage>.pt`` in the folder of the run."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from compressor.training.bundled.schedule import Run

SAVED_EVERY = 50  # steps


def _train_vision(
    folder: Path, stage: str, steps: int, parts: dict, loss: Callable[[int], tuple[Tensor, dict[str, float]]]
) -> None:
    run = Run(folder, stage, parts, peak=1e-3)
    while run.step < steps:
        total, accuracy = loss(run.step)
        run.update(total, steps)
        if run.step % 25 == 0:
            run.log(loss=round(total.item(), 4), **{k: round(v, 3) for k, v in accuracy.items()})
        if run.step % SAVED_EVERY == 0:
            run.save()
    run.save()


def train_crowds(folder: Path, steps: int, size: int) -> None:
    """Stage 1: the tower reads crowded pictures in windows."""
    from compressor.training.bundled.small import vision
    from compressor.training.bundled.small.model import build_model

    torch.manual_seed(0)
    model = build_model()
    model.model.language_model.requires_grad_(False)
    objective = vision.VisionObjective(model)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        images, targets, _ = vision.crowd_batch(step, size)
        return objective.dense(vision.read_windows(model, images), targets)

    _train_vision(folder, "crowds", steps, {"model": model, "objective": objective}, loss)


def train_vision(folder: Path, steps: int, size: int) -> None:
    """Stage 2: the tower of stage 1 reads whole pictures of the world, and [CLS] is trained."""
    from compressor.training.bundled.small import vision
    from compressor.training.bundled.small.model import build_model

    torch.manual_seed(0)
    model = build_model()
    model.model.language_model.requires_grad_(False)
    objective = vision.VisionObjective(model)
    before = torch.load(folder / "crowds.pt", weights_only=True)
    model.load_state_dict(before["model"])
    objective.load_state_dict(before["objective"])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        images, targets, whole = vision.scene_batch(step, size)
        _, tokens, cls = vision.read(model, images)
        total, accuracy = objective.dense(tokens, targets)
        return total + objective.of_image(cls, whole), accuracy

    _train_vision(folder, "vision", steps, {"model": model, "objective": objective}, loss)
