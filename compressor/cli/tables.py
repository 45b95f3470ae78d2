"""``tables``: results files as a table, with the paper's numbers beside them."""

import argparse
import json
from pathlib import Path
from typing import Any

from compressor.errors import ResultsError
from compressor.evaluation.comparison import published
from compressor.evaluation.markup import Table
from compressor.evaluation.tables import LAYOUTS

FORMATS = {"markdown": Table.to_markdown, "latex": Table.to_latex, "json": Table.to_json}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    tables = commands.add_parser("tables", help="tables of results files, beside the paper's numbers")
    tables.add_argument(
        "files", nargs="*", type=Path, metavar="FILE.json", help="results files of evaluate or profile"
    )
    tables.add_argument("--layout", choices=tuple(LAYOUTS), default="accuracy", help="kind of table")
    tables.add_argument("--format", choices=tuple(FORMATS), default="markdown", help="markup of the table")
    tables.add_argument(
        "--published", action="store_true", help="the paper's numbers as well, or alone if no file is given"
    )
    tables.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints one table of all the files."""
    layout = LAYOUTS[args.layout]
    if not args.files and not args.published:
        raise ResultsError("Give at least one results file, or --published for the paper's numbers.")
    if args.published and not layout.published:
        raise ResultsError(f"The paper has no numbers in the layout {args.layout!r}; leave --published out.")
    rows: list[dict[str, Any]] = []
    for path in args.files:
        # the same result may stand in several files
        rows += [row for row in read_results(path, layout.fields) if row not in rows]
    paper = [row for name in layout.published if args.published for row in published(name)]
    table = layout.build(rows, paper) if layout.published else layout.build(rows)
    print(FORMATS[args.format](table))


def read_results(path: Path, fields: dict[str, str]) -> list[dict[str, Any]]:
    """The results of one file.

    Args:
        path: of a JSON object with a list "results".
        fields: that each result must have, each "text", "number" or "numbers".
    Raises:
        ResultsError: the file cannot be read, or a result lacks a field.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"The results file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON; give a file that evaluate or profile wrote.") from error
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        raise ResultsError(f"{path} has no list 'results'; give a file that evaluate or profile wrote.")
    for number, row in enumerate(results, 1):
        for field, kind in fields.items():
            if not isinstance(row, dict) or not _is(kind, row.get(field)):
                raise ResultsError(
                    f"Result {number} of {path} has no {kind} {field!r}, which this layout shows; "
                    "choose another --layout or another file."
                )
    return results


def _is(kind: str, value: Any) -> bool:
    if kind == "numbers":
        return isinstance(value, list) and all(_is("number", each) for each in value)
    return isinstance(value, str if kind == "text" else (int, float))
