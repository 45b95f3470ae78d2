"""A generated world of emoji scenes: pictures, multi-turn dialogues about them, and the whole truth.

Every scene is a function of its seed. Seeds from ``HELD_OUT`` on are never used in training; compressors are
trained on seeds from ``FIRST_TRAINING`` on, below which are those that the bundled model was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from compressor.dialogues import Dialogue, Turn
from compressor.world import questions
from compressor.world.layout import CLASSES, Layout, SceneObject, draw_layout
from compressor.world.rendering import render

FIRST_TRAINING = 200_000_000
HELD_OUT = 1_000_000_000


@dataclass(frozen=True)
class Scene:
    """A generated picture and what is true of it."""

    seed: int
    layout: Layout
    image: Image.Image

    @property
    def objects(self) -> tuple[SceneObject, ...]:
        return self.layout.objects

    def answer(self, question: str, history: Sequence[str] = ()) -> str | None:
        """The true answer to ``question`` after the questions in ``history``; None if the world has none."""
        return questions.answer(self.layout, question, history)

    def suggestions(self, count: int = 6, seed: int = 0) -> list[str]:
        """Draws ``count`` different questions of different kinds that make sense for this scene."""
        rng = np.random.default_rng([self.seed, seed, 2])
        kinds = rng.permutation(questions.BASE_KINDS)
        texts: list[str] = []
        for turn in range(20 * count):
            kind = str(kinds[turn % len(kinds)])
            asked = questions.draw_question(self.layout, questions.Referents(), rng, (kind, "total"))
            if asked.text not in texts:
                texts.append(asked.text)
            if len(texts) == count:
                break
        return texts


def layout(seed: int, classes: tuple[str, ...] = tuple(CLASSES)) -> Layout:
    """The layout of the scene with this seed, without drawing it."""
    return draw_layout(np.random.default_rng([seed, 0]), classes)


def scene(seed: int, classes: tuple[str, ...] = tuple(CLASSES)) -> Scene:
    """The scene with this seed.

    Args:
        seed: any non-negative number; from ``HELD_OUT`` on the scene was never trained on.
        classes: the object classes that may appear.
    """
    truth = layout(seed, classes)
    return Scene(seed, truth, render(truth, np.random.default_rng([seed, 1])))


def picture(seed: int, classes: tuple[str, ...] = tuple(CLASSES)) -> Image.Image:
    """The picture of the scene with this seed."""
    return scene(seed, classes).image


def draw_turns(
    truth: Layout,
    rng: np.random.Generator,
    count: int,
    kinds: Sequence[str] = questions.KINDS,
    classes: Sequence[str] = tuple(CLASSES),
) -> tuple[Turn, ...]:
    """Draws ``count`` turns of one chat about a scene, no question twice, pronouns resolved along the way."""
    referents, drawn, texts = questions.Referents(), [], set()
    for attempt in range(40 * count):
        question = questions.draw_question(truth, referents, rng, kinds, classes)
        if question.text in texts and attempt < 39 * count:
            continue
        texts.add(question.text)
        reply = questions.true_answer(truth, questions.resolve(question, referents))
        drawn.append(Turn(question.text, reply, question.kind))
        referents = questions.update_referents(truth, question, referents)
        if len(drawn) == count:
            break
    return tuple(drawn)


def dialogue(
    seed: int,
    turns: int = 3,
    kinds: Sequence[str] = questions.KINDS,
    classes: tuple[str, ...] = tuple(CLASSES),
) -> Dialogue:
    """The dialogue with this seed: the scene of that seed and ``turns`` questions about it.

    Args:
        seed: as for ``scene``.
        turns: number of turns.
        kinds: the kinds of question to draw from.
        classes: the object classes that may appear and be asked for.
    """
    truth = layout(seed, classes)
    asked = draw_turns(truth, np.random.default_rng([seed, 3]), turns, kinds, classes)
    return Dialogue(partial(picture, seed, classes), asked, truth.objects, f"scene-{seed}")
