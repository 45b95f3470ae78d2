"""Where the files are that ship with the project: models, learned weights, pictures, tables."""

from pathlib import Path

# The wheel carries the folder inside this package; in a checkout it is at the top level.
_IN_WHEEL = Path(__file__).with_name("_assets")
ASSETS = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).resolve().parents[1] / "assets"
