"""Dialogues without their pictures: what a model answers that sees nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from compressor.dialogues import Dialogue


def gray_dialogues(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The same questions about a plain gray image of the same size."""
    return [replace(d, load=partial(_gray, d.load), id=f"{d.id}-gray") for d in dialogues]


def _gray(load: Callable[[], Image.Image]) -> Image.Image:
    return Image.new("RGB", load().size, (127, 127, 127))
