"""What the commands share: how arguments are read, and how results are written beside their command."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any


def names(text: str) -> list[str]:
    """Words separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def rates(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(rate) for rate in names(text)]


def command_line(args: argparse.Namespace) -> str:
    """The command line that was given, to stand beside its results."""
    return shlex.join(["python", "-m", "compressor", *args.given])


def write_json(path: Path, data: Any) -> None:
    """Write results, indented, so that a change of them can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
