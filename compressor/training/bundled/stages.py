"""The stages of the recipe of ``tiny``, each of which leaves ``<stage>.pt`` in the folder of the run."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import LlavaForConditionalGeneration

FIRST_LANGUAGE_SCENE = 100_000_000  # beyond the scenes of stage 1
POOL_SIZE = 8000  # scenes; 80 KiB of features each


def train_vision(folder: Path, steps: int, size: int, of: int | None = None) -> None:
    """Stage 1; leaves ``vision.pt`` in ``folder``; ``of`` is the schedule's length if it stops early."""
    from compressor.training.bundled import vision
    from compressor.training.bundled.model import build_model
    from compressor.training.bundled.schedule import Run

    torch.manual_seed(0)
    model = build_model()
    model.model.language_model.requires_grad_(False)
    objective = vision.VisionObjective(model)
    run = Run(folder, "vision", {"model": model, "objective": objective}, peak=1e-3)
    for images, targets, present in vision.batches(run.step, steps, size):
        _, tokens, cls = vision.read(model, images)
        loss, accuracy = objective(tokens, cls, targets, present)
        run.update(loss, of or steps)
        if run.step % 50 == 0:
            run.log(loss=round(loss.item(), 4), **{k: round(v, 3) for k, v in accuracy.items()})
            run.save()
    run.save()


def train_alignment(folder: Path, steps: int, size: int, scenes_count: int = 1500) -> None:
    """Stage 2 on the tower of ``vision.pt``; leaves ``alignment.pt`` in ``folder``."""
    import numpy as np

    from compressor.training.bundled import alignment, language
    from compressor.training.bundled.schedule import Run

    torch.manual_seed(0)
    model = _restored(folder / "vision.pt")
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    run = Run(folder, "alignment", {"model": model}, peak=2e-3)
    if run.step == steps:
        return
    pool = language.FeaturePool(model, FIRST_LANGUAGE_SCENE, scenes_count)
    pool.grow(scenes_count)
    while run.step < steps:
        rows = np.random.default_rng([run.step, 13]).choice(scenes_count, size=size, replace=False)
        described = [alignment.word_sums(model, pool.layouts[i]) for i in rows]
        sums, clear = (torch.stack(parts) for parts in zip(*described, strict=True))
        loss = alignment.alignment_loss(
            model.model.multi_modal_projector(pool.features[rows].float()), sums, clear
        )
        run.update(loss, steps)
        if run.step % 50 == 0:
            run.log(loss=round(loss.item(), 4), variance=round(sums[clear].var().item(), 4))
    run.save()


def _restored(path: Path) -> "LlavaForConditionalGeneration":
    from compressor.training.bundled.model import build_model

    model = build_model()
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return model


def train_language(folder: Path, steps: int, size: int, turns: int = 12) -> None:
    """Stage 3 on the tower and projector of ``alignment.pt``; leaves ``language.pt`` in ``folder``."""
    import numpy as np
    from torch.nn import functional as F

    from compressor.training.bundled import language
    from compressor.training.bundled.schedule import Run
    from compressor.world import scenes

    torch.manual_seed(0)
    model = _restored(folder / "alignment.pt")
    model.model.vision_tower.requires_grad_(False)
    heads = language.LookupHeads(model.config.text_config.hidden_size)
    validation = language.FeaturePool(model, scenes.HELD_OUT + 1_000_000, 100)
    validation.grow(100)
    run = Run(folder, "language", {"model": model, "heads": heads}, peak=1e-3)
    pool = language.FeaturePool(model, FIRST_LANGUAGE_SCENE, POOL_SIZE)
    while run.step < steps:
        pool.grow(1500 + 4 * run.step)
        rng = np.random.default_rng([run.step, 11])
        rows = rng.choice(pool.count, size=size, replace=False)
        texts = [language.pack(pool.layouts[i], rng, turns, language.TRAINING_KINDS) for i in rows]
        ids, labels, targets = language.collate(texts)
        weights, positions = language.draw_reduction(rng, run.step / steps, pool.features.shape[1])
        tokens = model.model.multi_modal_projector(pool.features[rows].float())
        gapped = rng.random() < 0.5
        hidden = language.forward(
            model,
            weights @ tokens,
            ids,
            positions if gapped else torch.arange(len(positions)),
            weights.shape[1] if gapped else len(positions),
        )
        lookups, accuracy = heads(hidden, targets)
        asked = labels != language.IGNORE
        answers = F.cross_entropy(model.lm_head(hidden[-1][asked]), labels[asked])
        run.update(answers + 0.1 * lookups, steps)
        if run.step % 50 == 0:
            shown = {k: round(v, 2) for k, v in accuracy.items()}
            run.log(loss=round(answers.item(), 4), tokens=len(positions), lookups=shown)
        if run.step % 250 == 0:
            run.log(validation=language.validate(model, validation))
            run.save()
    run.save()


def export_model(folder: Path, target: Path) -> None:
    """Writes the model of ``language.pt`` as a checkpoint, with the log of its training."""
    from compressor.training.bundled.model import build_tokenizer, export

    export(_restored(folder / "language.pt"), build_tokenizer(), target)
    shutil.copy(folder / "log.jsonl", target / "training.jsonl")
