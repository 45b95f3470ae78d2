"""Measured results and published ones in one table, every column saying which of the two it is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compressor.assets import ASSETS
from compressor.errors import ResultsError
from compressor.evaluation.markup import Table

Row = dict[str, Any]
Cell = Callable[[Row], str]
Column = tuple[str, Cell]  # a head, and what a result shows below it
TERMS = {"entropy": True, "collapse": True, "clip": True}  # of the paper's method; L_pred is always there
MEASURED = "measured"
SETTING = ("model", "data")
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


def same_setting(row: Row, published: Row, fields: Sequence[str] = SETTING) -> bool:
    """Whether a published number is of the setting that was measured.

    The ``fields``, the method and the rate must be the same; so must the loss terms and the training data
    where the measured row names them. "metacompress: NAME" is that method with other weights, and the
    uncompressed model is the same at every rate.
    """
    method = row["method"].partition(":")[0]
    return (
        method == published["method"]
        and (method == "none" or row["rate"] == published["rate"])
        and all(row.get(field) == published.get(field) for field in fields)
        and row.get("terms") in (None, published.get("terms", TERMS))
        and row.get("trained_on") in (None, published.get("trained_on", published.get("data")))
    )


def compare_rows(
    rows: Sequence[Row],
    published: Sequence[Row],
    keys: Sequence[Column],
    values: Sequence[Column],
    *,
    fields: Sequence[str] = SETTING,
    notes: Sequence[str] = (),
) -> Table:
    """One line per result: its keys, its measured values, the published ones and where they are published.

    Args:
        rows: measured; where there are none the published ones are the table.
        published: of which the first that agrees stands beside a measured one.
        keys: columns that tell the setting.
        values: columns that are shown of both.
        fields: that must agree, as of ``same_setting``.
        notes: below the table, before those of the published rows.
    Raises:
        ResultsError: there is nothing to show.
    """
    shown = _shown(rows, published, fields)
    beside = [agreeing[0] if agreeing else None for _, agreeing in shown]
    known = [p for p in beside if p]
    label = f", {MEASURED}" if known else ""
    columns = [(head, [cell(row) for row, _ in shown]) for head, cell in keys]
    columns += [(head + label, [cell(row) for row, _ in shown]) for head, cell in values]
    columns += [(f"{head}, published", [cell(p) if p else "" for p in beside]) for head, cell in values]
    columns.append(("published in", [p["source"]["table"] if p else "" for p in beside]))
    if not rows:
        columns.append(("source", [_label(row) for row in published]))
    return assemble(columns, [*notes, *_notes(known if rows else published)])


def pivot(
    rows: Sequence[Row],
    published: Sequence[Row],
    *,
    corner: Sequence[str],
    lead: Callable[[Row], tuple[str, ...]],
    column: Cell,
    cell: Cell,
    columns: Sequence[str] = (),
) -> Table:
    """Settings down and others across, one result per cell, each column measured or published in one table.

    Args:
        rows: measured; where there are none the published ones are the table.
        published: those that agree with a measured one get columns beside it.
        corner: heads of the leading columns.
        lead: the leading cells of a result.
        column: the head a result stands below.
        cell: what is shown of it.
        columns: the order of the heads; that of the results if empty.
    Raises:
        ResultsError: there is nothing to show, or two measured results claim one cell.
    """
    shown = _shown(rows, published)
    known = [p for p in published if not rows or any(p in agreeing for _, agreeing in shown)]
    cells: dict[tuple, str] = {}
    for row, agreeing in shown:
        place = lead(row), column(row), MEASURED if rows else _label(row)
        if rows and place in cells:
            setting = ", ".join(filter(None, [*place[0], place[1]]))
            raise ResultsError(f"Two results claim the cell {setting}; give this table one of them.")
        cells[place] = cell(row)
        cells |= {(*place[:2], _label(p)): cell(p) for p in agreeing}
    leads = list(dict.fromkeys(place[0] for place in cells))
    table = [(head, [place[i] for place in leads]) for i, head in enumerate(corner)]
    for head in dict.fromkeys(columns or [place[1] for place in cells]):
        for label in dict.fromkeys(place[2] for place in cells if place[1] == head):
            name = f"{head}, {label}" if known else head
            table.append((name, [cells.get((place, head, label), "") for place in leads]))
    return assemble(table, _notes(known))


def _shown(
    rows: Sequence[Row], published: Sequence[Row], fields: Sequence[str] = SETTING
) -> list[tuple[Row, list[Row]]]:
    """The measured results with the published ones that agree, or the published ones alone.

    Raises:
        ResultsError: there is nothing to show.
    """
    require(rows or published, "There are no results to put into this table.")
    if not rows:
        return [(p, []) for p in published]
    return [(row, [p for p in published if same_setting(row, p, fields)]) for row in rows]


def assemble(columns: Sequence[tuple[str, Sequence[str]]], notes: Sequence[str] = ()) -> Table:
    """A table of the columns that say anything."""
    kept = [(head, cells) for head, cells in columns if any(cells)]
    rows = zip(*(cells for _, cells in kept), strict=True)
    return Table(tuple(head for head, _ in kept), tuple(rows), tuple(notes))


def require(rows: Sequence[Row], sentence: str) -> None:
    """Refuses to make a table of nothing."""
    if not rows:
        raise ResultsError(sentence)


def _label(row: Row) -> str:
    return f"published, {row['source']['table']}"


def _notes(published: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(note for row in published for note in row["notes"]))
