"""The model families: a folder each, behind the interface of `models.base`, listed in `models.catalog`.

Of a folder, `model.load(directory, name=, device=, dtype=, four_bit=, device_map=)` loads a checkpoint; where
there is a random_weights.py, its `BUILDERS` make models of the published sizes, by name.
"""

from importlib import import_module
from typing import Any


def family_module(folder: str, name: str) -> Any:
    """A module of a family, imported when it is needed: transformers takes seconds to import.

    Args:
        folder: of the family, as its catalog entry names it.
        name: of the module.
    """
    return import_module(f"{__name__}.{folder}.{name}")
