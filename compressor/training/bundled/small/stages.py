"""The stages of the recipe of ``small``, each of which leaves ``<stage>.pt`` in the folder of the run."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.training.bundled.schedule import Run
from compressor.world import dense_scenes
from compressor.world.dense.layout import DenseLayout

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

FIRST_LANGUAGE_SCENE = 100_000_000  # beyond the scenes of the vision stages
SAVED_EVERY = 50  # steps
LANGUAGE = "model.language_model."  # where the weights of the language model are
NOISE = 0.3  # of the word sums, whose variance is about 1.6


def _model(folder: Path, stage: str, *before: str) -> "LlavaForConditionalGeneration":
    """A new model with the weights of the stages ``before``, unless this stage has begun and has its own.

    Of all but the first of them, only the language model is taken.
    """
    from compressor.training.bundled.small.model import build_model

    torch.manual_seed(0)
    model = build_model()
    if not (folder / f"{stage}.pt").exists():
        for index, name in enumerate(before):
            weights = torch.load(folder / f"{name}.pt", weights_only=True)["model"]
            if index:
                weights = {
                    key: value for key, value in weights.items() if LANGUAGE in key or "lm_head" in key
                }
            model.load_state_dict(weights, strict=not index)
    return model


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

    model = _model(folder, "crowds")
    model.model.language_model.requires_grad_(False)
    objective = vision.VisionObjective(model)

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        images, targets, _ = vision.crowd_batch(step, size)
        return objective.dense(vision.read_windows(model, images), targets)

    _train_vision(folder, "crowds", steps, {"model": model, "objective": objective}, loss)


def train_vision(folder: Path, steps: int, size: int) -> None:
    """Stage 2: the tower of stage 1 reads whole pictures, and [CLS] is trained."""
    from compressor.training.bundled.small import vision

    model = _model(folder, "vision", "crowds")
    model.model.language_model.requires_grad_(False)
    objective = vision.VisionObjective(model)
    if not (folder / "vision.pt").exists():
        objective.load_state_dict(torch.load(folder / "crowds.pt", weights_only=True)["objective"])

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        crowd = step % 2 == 0
        batch = vision.crowd_batch(step, size) if crowd else vision.scene_batch(step, size)
        images, targets, whole = batch
        _, tokens, cls = vision.read(model, images)
        total, accuracy = objective.dense(tokens, targets)
        return total if crowd else total + objective.of_image(cls, whole), accuracy

    _train_vision(folder, "vision", steps, {"model": model, "objective": objective}, loss)


def train_alignment(folder: Path, steps: int, size: int, pictures: int = 1008) -> None:
    """Stage 3 on the tower of ``vision.pt``."""
    from compressor.training.bundled.alignment import alignment_loss
    from compressor.training.bundled.small.alignment import WordSums
    from compressor.training.bundled.small.language import FeaturePool

    model = _model(folder, "alignment", "vision")
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    run = Run(folder, "alignment", {"model": model}, peak=2e-3)
    if run.step == steps:
        return
    word_sums = WordSums(model)
    pool = FeaturePool(model, FIRST_LANGUAGE_SCENE, pictures)
    pool.grow(pictures)
    while run.step < steps:
        rows = np.random.default_rng([run.step, 13]).choice(pictures, size=size, replace=False)
        described = [word_sums(pool.layouts[i]) for i in rows]
        sums, clear = (torch.stack(parts) for parts in zip(*described, strict=True))
        tokens = model.model.multi_modal_projector(pool.features[rows].float())
        loss = alignment_loss(tokens, sums, clear)
        run.update(loss, steps)
        if run.step % 50 == 0:
            run.log(loss=round(loss.item(), 4), variance=round(sums[clear].var().item(), 4))
        if run.step % SAVED_EVERY == 0:
            run.save()
    run.save()


@dataclass
class _Chats:
    """What both stages of the language model share: the model, its heads, and their losses."""

    run: Run
    model: "LlavaForConditionalGeneration"
    heads: nn.Module
    steps: int
    length: int  # tokens of chats about each picture, at least

    def step(self, layouts: list[DenseLayout], tokens: Tensor, rng: np.random.Generator) -> None:
        """One step on chats about some scenes and a reduction of their tokens (B, n, d), both drawn."""
        from compressor.training.bundled.small import language, reductions, texts

        batch = texts.collate([texts.pack(layout, rng, self.length) for layout in layouts])
        weights, positions = reductions.draw_reduction(rng, self.run.step / self.steps, tokens.shape[1])
        start = weights.shape[1]
        if rng.random() < 0.5:
            positions, start = torch.arange(len(positions)), len(positions)
        hidden = language.forward(self.model, weights @ tokens, batch, positions, start)
        lookups, accuracy = self.heads(hidden, batch)
        asked = batch.labels != texts.IGNORE
        answers = F.cross_entropy(self.model.lm_head(hidden[-1][asked]), batch.labels[asked])
        self.run.update(answers + 0.1 * lookups, self.steps)
        if self.run.step % 25 == 0:
            shown = {k: round(v, 2) for k, v in accuracy.items()}
            self.run.log(loss=round(answers.item(), 4), tokens=len(positions), lookups=shown)
        if self.run.step % SAVED_EVERY == 0:
            self.run.save()


def _chats(
    folder: Path, stage: str, steps: int, length: int, model: "LlavaForConditionalGeneration"
) -> _Chats:
    from compressor.training.bundled.small.language import LookupHeads

    heads = LookupHeads(model.config.text_config.hidden_size)
    before = folder / "words.pt"
    if stage != "words" and before.exists() and not (folder / f"{stage}.pt").exists():
        heads.load_state_dict(torch.load(before, weights_only=True)["heads"])
    run = Run(folder, stage, {"model": model, "heads": heads}, peak=1e-3)
    return _Chats(run, model, heads, steps, length)


def train_words(folder: Path, steps: int, size: int, length: int = 300) -> None:
    """Stage 4: the language model learns to chat from what the visual tokens are meant to be, and noise.

    It needs no picture and none of the other stages.
    """
    from compressor.training.bundled.small.alignment import WordSums

    model = _model(folder, "words")
    word_sums = WordSums(model)
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(False)
    chats = _chats(folder, "words", steps, length, model)
    while chats.run.step < steps:
        step = chats.run.step
        noise = torch.Generator().manual_seed(step)
        layouts = [dense_scenes.layout(FIRST_LANGUAGE_SCENE + step * size + i) for i in range(size)]
        sums = [word_sums(layout)[0] for layout in layouts]
        tokens = torch.stack([s + NOISE * torch.randn(s.shape, generator=noise) for s in sums])
        chats.step(layouts, tokens, np.random.default_rng([step, 11]))
    chats.run.save()


def train_language(folder: Path, steps: int, size: int, pictures: int = 6000, length: int = 300) -> None:
    """Stage 5: the language model of stage 4 goes on with the tower and projector of ``alignment.pt``.

    Args:
        folder: of the run.
        steps: of the stage.
        size: pictures in a batch.
        pictures: that the pool grows to.
        length: tokens of chats about each picture, at least.
    """
    from compressor.training.bundled.small import language

    model = _model(folder, "language", "alignment", "words")
    model.model.vision_tower.requires_grad_(False)
    chats = _chats(folder, "language", steps, length, model)
    validation = language.FeaturePool(model, dense_scenes.CHOOSING, 64)
    pool = language.FeaturePool(model, FIRST_LANGUAGE_SCENE, pictures)
    while chats.run.step < steps:
        pool.grow(800 + chats.run.step)
        rng = np.random.default_rng([chats.run.step, 11])
        rows = rng.choice(pool.count, size=size, replace=False)
        tokens = model.model.multi_modal_projector(pool.features[rows].float())
        chats.step([pool.layouts[i] for i in rows], tokens, rng)
        if chats.run.step % 500 == 0:
            validation.grow(64)
            chats.run.log(validation=language.validate(model, validation))
    chats.run.save()


def export_model(folder: Path, target: Path) -> None:
    """Writes the model of ``language.pt`` as a checkpoint, with the log of its training."""
    from compressor.training.bundled.model import export
    from compressor.training.bundled.small.model import build_tokenizer

    export(_model(folder, "export", "language"), build_tokenizer(), target)
    shutil.copy(folder / "log.jsonl", target / "training.jsonl")
