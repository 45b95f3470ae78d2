"""The second edition of the generated world: many small objects on textured ground, and answers in sentences.

Every scene is a function of its seed. Seeds from ``HELD_OUT`` on are never used in training, those from
``CHOOSING`` on only to choose among trained models and settings; compressors are trained on seeds from
``FIRST_TRAINING`` on, below which are those that the bundled model was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from compressor.dialogues import Dialogue
from compressor.world.dense import answers, drawing, questions
from compressor.world.dense.layout import DenseLayout, DenseObject, draw_layout
from compressor.world.dense.rendering import render

FIRST_TRAINING = 200_000_000
CHOOSING = 900_000_000
HELD_OUT = 1_000_000_000


@dataclass(frozen=True)
class DenseScene:
    """A generated picture and what is true of it."""

    seed: int
    layout: DenseLayout
    image: Image.Image

    @property
    def objects(self) -> tuple[DenseObject, ...]:
        return self.layout.objects

    def answer(self, question: str, history: Sequence[str] = ()) -> str | None:
        """The true answer to ``question`` after the questions in ``history``; None if the world has none."""
        return answers.answer(self.layout, question, history)

    def suggestions(self, count: int = 6, seed: int = 0) -> list[str]:
        """Draws ``count`` different questions of different kinds that make sense for this scene."""
        rng = np.random.default_rng([self.seed, seed, 2])
        texts: list[str] = []
        skipped = ("topics", "unknown", "premise")
        kinds = [str(kind) for kind in rng.permutation(questions.BASE_KINDS) if kind not in skipped]
        for turn in range(20 * count):
            kind = kinds[turn % len(kinds)]
            text = drawing.draw_question(self.layout, answers.Referents(), rng, (kind, "presence")).text
            if text not in texts:
                texts.append(text)
            if len(texts) == count:
                break
        return texts


def layout(seed: int) -> DenseLayout:
    """The layout of the scene with this seed, without drawing it."""
    return draw_layout(np.random.default_rng([seed, 0]))


def scene(seed: int) -> DenseScene:
    """The scene with this seed.

    Args:
        seed: any non-negative number; from ``HELD_OUT`` on the scene was never trained on.
    """
    truth = layout(seed)
    return DenseScene(seed, truth, render(truth, np.random.default_rng([seed, 1])))


def picture(seed: int) -> Image.Image:
    """The picture of the scene with this seed."""
    return scene(seed).image


def dialogue(
    seed: int, turns: int = 3, kinds: Sequence[str] = questions.KINDS, short: bool = True
) -> Dialogue:
    """The dialogue with this seed: the scene of that seed and ``turns`` questions about it.

    Args:
        seed: as for ``scene``.
        turns: number of turns.
        kinds: the kinds of question to draw from.
        short: whether questions that one word can answer ask for one word; all others, and all without it,
            are answered in whole sentences.
    """
    truth = layout(seed)
    asked = drawing.draw_turns(truth, np.random.default_rng([seed, 3]), turns, kinds, short)
    return Dialogue(partial(picture, seed), asked, truth.objects, f"dense-scene-{seed}")
