"""Reads the published numbers of InternLM-XComposer-2.5."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "xcomposer"


def arrays(name):
    """The arrays of a file as tensors; texts are left out."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind != "U"}


def text(name, key):
    """A text of a file."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        return str(file[key])


def picture(case):
    """The image of a case."""
    return Image.fromarray(case["image"].numpy())
