"""What a benchmark is made of: an image and a few turns of question and answer."""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Turn:
    """One question about the image with its true answer; ``kind`` names the type of question."""

    question: str
    answer: str
    kind: str = ""


@dataclass(frozen=True)
class Dialogue:
    """An image and the turns that are asked about it, in order.

    ``objects`` is the ground truth of a generated scene and empty for photographs.
    """

    image: Image.Image
    turns: tuple[Turn, ...]
    objects: tuple = ()
    id: str = ""
