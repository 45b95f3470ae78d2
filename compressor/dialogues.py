"""What a benchmark is made of: an image and a few turns of question and answer."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Turn:
    """One question about the image.

    Args:
        question: as it is asked.
        answer: the true one, or the most frequent of several.
        kind: names the type of question.
        answers: all true answers, one per annotator, where a benchmark has several.
        options: of a multiple choice, in order.
    """

    question: str
    answer: str
    kind: str = ""
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dialogue:
    """An image and the turns that are asked about it, in order.

    Args:
        load: gives the image; called whenever it is asked for, so that a benchmark holds no pixels.
        turns: in the order in which they are asked.
        objects: the ground truth of a generated scene; empty for photographs.
        id: the same in every run, and different for every dialogue of a benchmark.
    """

    load: Callable[[], Image.Image]
    turns: tuple[Turn, ...]
    objects: tuple = ()
    id: str = ""

    @property
    def image(self) -> Image.Image:
        """The image, loaded or drawn anew."""
        return self.load()
