"""Trains a bundled model from nothing: all stages of its recipe in turn, then ``export``, or one of them.

Each stage goes on where a killed run stopped; one that has ended, or whose next has begun, is passed over.
Everything goes by the number of the step, never by the clock, so a run that was killed ends with the weights
of one that was not.
Freed memory is kept by the process: touching fresh pages costs more than half of the time of the vision stage
otherwise. Where other work shares the processor, OMP_NUM_THREADS=1 does more steps than two threads.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compressor.training.bundled import stages as tiny
from compressor.training.bundled.schedule import save_weights
from compressor.training.bundled.small import stages as small

_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe: what trains it, given folder, steps and batch size, and the usual ones."""

    train: Callable[[Path, int, int], None]
    steps: int
    batch: int
    next: str = ""  # the stage that goes on from this one's weights


@dataclass(frozen=True)
class Recipe:
    """How a bundled model is made: its stages in order, and what writes the checkpoint at the end."""

    stages: dict[str, Stage]
    export: Callable[[Path, Path], None]

    def passed(self, name: str, folder: Path) -> bool:
        """Whether a later stage has begun with what this one gives."""
        after = self.stages[name].next
        return bool(after) and ((folder / f"{after}.pt").exists() or self.passed(after, folder))


RECIPES = {
    "tiny": Recipe(
        {
            "vision": Stage(tiny.train_vision, 2200, 16, "alignment"),
            "alignment": Stage(tiny.train_alignment, 600, 16, "language"),
            "language": Stage(tiny.train_language, 2400, 16),
        },
        tiny.export_model,
    ),
    "small": Recipe(
        {
            "crowds": Stage(small.train_crowds, 2400, 8, "vision"),
            "vision": Stage(small.train_vision, 2400, 8, "alignment"),
            "alignment": Stage(small.train_alignment, 600, 16, "language"),
            "words": Stage(small.train_words, 9000, 6, "language"),
            "language": Stage(small.train_language, 5000, 8),
        },
        small.export_model,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m compressor.training.bundled", description=__doc__)
    parser.add_argument(
        "recipe", nargs="?", choices=tuple(RECIPES), default="tiny", help="the model to train"
    )
    every = dict.fromkeys([stage for recipe in RECIPES.values() for stage in recipe.stages] + ["export"])
    parser.add_argument("--stage", choices=tuple(every), help="only this one; default: all in turn")
    parser.add_argument("--folder", type=Path, help="checkpoints and log; default: runs/NAME")
    parser.add_argument("--steps", type=int, help="of the stage, in place of its own number")
    parser.add_argument("--batch", type=int, help="of the stage, in place of its own size")
    parser.add_argument("--target", type=Path, help="of export; default: assets/models/NAME")
    parser.add_argument("--weights", type=Path, help="train nothing; write the weights to go on from here")
    args = parser.parse_args()
    recipe = RECIPES[args.recipe]
    if args.stage not in (None, "export", *recipe.stages):
        parser.error(f"{args.recipe} has no stage {args.stage}; it has {', '.join(recipe.stages)} and export")
    folder = args.folder or Path("runs") / args.recipe
    if args.weights:
        for name in recipe.stages:
            if (folder / f"{name}.pt").exists() and not recipe.passed(name, folder):
                save_weights(folder / f"{name}.pt", args.weights / f"{name}.pt")
        return
    for name, stage in recipe.stages.items():
        if args.stage == name or (args.stage is None and not recipe.passed(name, folder)):
            stage.train(folder, args.steps or stage.steps, args.batch or stage.batch)
    if args.stage in (None, "export"):
        recipe.export(folder, args.target or Path("assets/models") / args.recipe)


if __name__ == "__main__":
    if not _KEEP_MEMORY.keys() <= os.environ.keys():
        os.execve(
            sys.executable,
            [sys.executable, "-m", "compressor.training.bundled", *sys.argv[1:]],
            os.environ | _KEEP_MEMORY,
        )
    main()
