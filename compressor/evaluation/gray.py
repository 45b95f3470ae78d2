"""Dialogues without their pictures: what a model answers that sees nothing."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from compressor.data.dialogues import Dialogue


def gray_dialogues(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The same questions about a plain gray image of the same size."""
    return [replace(d, image=Image.new("RGB", d.image.size, (127, 127, 127))) for d in dialogues]
