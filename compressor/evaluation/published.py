"""The paper's numbers, as they are printed: rows like those of a results file, with their source."""

import json
from pathlib import Path
from typing import Any

from compressor.assets import ASSETS
from compressor.errors import ResultsError

PUBLISHED = ASSETS / "published"


def list_published(folder: Path = PUBLISHED) -> list[str]:
    """Names of the published tables."""
    return sorted(path.stem for path in folder.glob("*.json"))


def published(table: str, folder: Path = PUBLISHED) -> list[dict[str, Any]]:
    """The rows of one published table.

    Models, data and methods have this project's names ("none" for Base, "metacompress" for Ours). What looks
    wrong in print, such as an Avg that is not the mean of its three accuracies, stays and is said in a note.

    Args:
        table: one of `list_published()`, such as "table4".
        folder: of the JSON files.
    Returns:
        Rows with "source" ("table", "paper", "arxiv", and "decimals", the digits after the point in print)
        and "notes", a list of sentences.
    Raises:
        ResultsError: there is no such table.
    Source: "Rethinking Token Reduction for Large Vision-Language Models" (CVPR 2026), arXiv 2603.21701.
    """
    if table not in list_published(folder):
        known = ", ".join(list_published(folder))
        raise ResultsError(f"There is no published table {table!r}; choose one of {known}.")
    data = json.loads((folder / f"{table}.json").read_text(encoding="utf-8"))
    rows = []
    for row in data["rows"]:
        notes = [data["notes"].get(row.get("data")), row.pop("note", None)]
        rows.append({**row, "source": data["source"], "notes": [note for note in notes if note]})
    return rows
