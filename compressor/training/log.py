"""The record of a training run: JSON lines, and a picture of its curves.

No line holds a time, so that a run that was interrupted leaves the same file as one that was not.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOG = "log.jsonl"


class TrainingLog:
    """The log of a run's folder: what the run is, then a line per step and per validation.

    Args:
        folder: of the run.
        about: the first line.
        step: steps that are done; lines of later ones, from a process that was killed, are dropped.
        writes: whether this process does.
    """

    def __init__(self, folder: Path, about: dict[str, Any], step: int, writes: bool = True) -> None:
        self.path, self.writes = folder / LOG, writes
        if not writes:
            return
        kept = [line for line in read(self.path)[1:] if line["step"] <= step] if step else []
        self.path.write_text("".join(json.dumps(line) + "\n" for line in [about, *kept]), encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; numbers are rounded to what float32 knows."""
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_rounded(line)) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return float(f"{value:.7g}") if isinstance(value, float) else value


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a killed process left unfinished is skipped."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.endswith("}")]


def draw_curves(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """A picture of L_pred, L_entropy and L_collapse over the steps, and of L_pred in validation.

    Args:
        lines: of a log.
        path: of the .png.
    """
    from matplotlib.figure import Figure

    steps = [line for line in lines if "prediction" in line]
    checks = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3), ("prediction", "entropy", "collapse"), strict=True):
        for rate in sorted({line["rate"] for line in steps}):
            at = [line for line in steps if line["rate"] == rate]
            axes.plot([line["step"] for line in at], [line[name] for line in at], lw=0.8, label=f"{rate:.0%}")
        axes.set(title=f"L_{name}", xlabel="step")
    first = figure.axes[0]
    first.plot(
        [line["step"] for line in checks], [line["mean"] for line in checks], "k.-", label="validation"
    )
    first.set_yscale("log")
    first.legend(fontsize="x-small", title="rate", title_fontsize="x-small")
    figure.savefig(path, dpi=120)
