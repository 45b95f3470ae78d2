"""Tables of results, with the paper's numbers beside the measured ones.

All functions take rows of results files as plain dicts (``accuracy`` and ``efficiency`` write them), and rows
of ``published`` to stand beside them: wherever model, data, method and rate agree, and the loss terms and the
training data too where a result names them, the published numbers get columns of their own. Without measured
rows the published ones are the table. All raise ResultsError where there is nothing to show.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from compressor.errors import ResultsError
from compressor.evaluation.comparison import TERMS, Cell, Column, Row, assemble, compare_rows, pivot, require
from compressor.evaluation.markup import Table

JUDGED = {"convbench"}  # scores, not percent: one more digit


def accuracy_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """One row per result: Acc_t, Avg, its standard error and interval, in percent (scores for a judge).

    Then, where a result tells it, how many answers named no letter, and how many rows had no picture.
    """
    turns = max((len(row.get("acc", ())) for row in (*rows, *published)), default=0)
    rest = [("Avg", _average), ("s.e.", _error), ("95 % interval", _interval)]
    rest += [("no letter", _count("no_letter")), ("left out", _count("left_out"))]
    return compare_rows(rows, published, [*_SETTING, _TOKENS], [*map(_turn, range(turns)), *rest])


def curve_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """Accuracy against rate, a line per point, every method's points together: what a plot reads."""
    order = list(dict.fromkeys(_method_of(row) for row in (*rows, *published)))

    def place(row: Row) -> tuple[int, float]:
        return order.index(_method_of(row)), row["rate"]

    values = [
        ("Avg", lambda row: _number(row.get("avg"), 2)),
        ("low", lambda row: _number((row.get("interval") or (None, None))[0], 2)),
        ("high", lambda row: _number((row.get("interval") or (None, None))[1], 2)),
    ]
    return compare_rows(sorted(rows, key=place), sorted(published, key=place), [*_SETTING, _TOKENS], values)


def average_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """Methods down, rates across, Avg ± its standard error in the cells.

    A method that is known at rate 0 alone, such as the uncompressed model, stands at every rate.
    """
    shown = list(_at_every_rate(rows or published))
    return pivot(
        shown if rows else [],
        published if rows else shown,
        corner=("model", "data", "method"),
        lead=_method_of,
        column=_percent,
        cell=_with_error,
        columns=[_percent(row) for row in sorted(shown, key=lambda row: row["rate"])],
    )


def kinds_table(rows: Sequence[Row]) -> Table:
    """Accuracy by kind of question, one column per result, in percent."""
    rows = [row for row in rows if row.get("kinds")]
    require(rows, "No result tells its accuracy by kind of question.")
    telling = [field for field in ("model", "data") if len({row.get(field) for row in rows}) > 1]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["kinds"]))
    columns = [("kind", kinds)]
    for row in rows:
        setting = [row.get(field, "") for field in telling]
        name = f"{row['method']} {_percent(row)}" if row["rate"] else row["method"]
        columns.append((" ".join([*setting, name]), [_number(row["kinds"].get(kind), 0) for kind in kinds]))
    return assemble(columns)


def ablation_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """The loss terms that MetaCompress was trained with, and Avg for every model, data and rate (Table 6).

    Clipping without L_collapse, which the paper does not report, gets a column of its own where it occurs.

    Raises:
        ResultsError: no result names its "terms", or one names others than "entropy", "collapse" and "clip".
    """
    rows = [row for row in rows if row.get("terms")]
    require(rows or published, "No result names the loss terms its compressor was trained with.")
    for row in rows:
        if set(row["terms"]) != set(TERMS):
            raise ResultsError(f"The loss terms of a result are {', '.join(TERMS)}, not {row['terms']!r}.")

    def stage(row: Row) -> tuple[bool, bool, bool]:  # the order of Table 6
        return row["terms"]["collapse"], row["terms"]["clip"], row["terms"]["entropy"]

    rows, published = sorted(rows, key=stage), sorted(published, key=stage)
    heads = ["ℒ_pred", "ℒ_entropy", "ℒ_collapse", "ℒ_collapse + Grad Clip"]
    if any(clip and not collapse for collapse, clip, _ in map(stage, rows)):
        heads.append("Grad Clip")

    def lead(row: Row) -> tuple[str, ...]:
        collapse, clip, entropy = stage(row)
        terms = True, entropy, collapse and not clip, collapse and clip, clip and not collapse
        return tuple("✓" if term else "✗" for term in terms)[: len(heads)]

    def column(row: Row) -> str:
        return ", ".join(filter(None, [row.get("model"), row.get("data"), _percent(row)]))

    return pivot(rows, published, corner=heads, lead=lead, column=column, cell=_with_error)


def transfer_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """The data MetaCompress was trained on → the data it is measured on, and Avg for every model (Table 7).

    Raises:
        ResultsError: no result names the data its compressor was trained on.
    """
    rows = [row for row in rows if row.get("trained_on")]
    require(rows or published, "No result names the data that its compressor was trained on.")
    order = list(dict.fromkeys(row["data"] for row in (*rows, *published)))

    def place(row: Row) -> tuple[int, bool]:
        return order.index(row["data"]), row["trained_on"] != row["data"]

    def lead(row: Row) -> tuple[str]:
        own = row["trained_on"] == row["data"]
        return (row["data"] if own else f"{row['trained_on']} → {row['data']}",)

    def column(row: Row) -> str:
        return ", ".join(filter(None, [row.get("model"), _percent(row)]))

    rows, published = sorted(rows, key=place), sorted(published, key=place)
    return pivot(rows, published, corner=("setting",), lead=lead, column=column, cell=_with_error)


def efficiency_table(rows: Sequence[Row], published: Sequence[Row] = ()) -> Table:
    """Time, memory and arithmetic of every method, each with base / method in parentheses (Table 2).

    The base is the method "none" of the same model, device, dtype, batch and length.
    """
    notes = ["In parentheses: base / method."]
    if any(row.get("random_weights") for row in rows):
        notes.append("Measured with random weights, on which time and memory do not depend.")

    def base(row: Row) -> Row:
        same = ("model", "device", "dtype", "batch", "new_tokens", "random_weights", "source")
        bases = [r for r in (*rows, *published) if r["method"] == "none"]
        return next((r for r in bases if all(r.get(f) == row.get(f) for f in same)), {})

    def value(field: str, head: str) -> Column:
        def cell(row: Row) -> str:
            own, reference = row.get(field), base(row).get(field)
            ratio = f" ({reference / own:.2f})" if own and reference and row["method"] != "none" else ""
            return _three_digits(own) + ratio

        return head, cell

    values = [
        value("ttft_ms", "TTFT ms"),
        value("total_ms", "end-to-end ms"),
        value("peak_memory_gb", "memory GB"),
        value("tflops", "TFLOPs"),
        value("cache_mb", "cache MB"),
    ]
    keys = [*map(_named, ("model", "device", "dtype", "batch", "method")), ("rate", _percent), _TOKENS]
    return compare_rows(rows, published, keys, values, fields=("model",), notes=notes)


def _named(field: str) -> Column:
    return field, lambda row: str(row.get(field, ""))


def _percent(row: Row) -> str:
    return f"{100 * row['rate']:g}%"


_SETTING = [*map(_named, ("model", "data", "method")), ("rate", _percent)]
_TOKENS: Column = ("tokens", lambda row: _number(row.get("image_tokens"), 0))


def _count(field: str) -> Cell:
    return lambda row: _number(row.get(field), 0)


def _method_of(row: Row) -> tuple[str, str, str]:
    return row.get("model", ""), row.get("data", ""), row["method"]


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def _three_digits(value: float | None) -> str:
    """Three significant digits, without an exponent."""
    return _number(value, max(0, 2 - math.floor(math.log10(value))) if value else 0)


def _points(row: Row, value: float | None) -> str:
    """A published number with the digits it has in print, a measured one with what its error leaves of it."""
    printed = row["source"]["decimals"] if "source" in row else None
    return _number(value, printed or (2 if row.get("data") in JUDGED else 1))


def _turn(turn: int) -> Column:
    def cell(row: Row) -> str:
        acc = row.get("acc", ())
        return _points(row, acc[turn]) if turn < len(acc) else ""

    return f"Acc{turn + 1}", cell


def _average(row: Row) -> str:
    return _points(row, row["avg"])


def _error(row: Row) -> str:
    return _points(row, row.get("standard_error"))


def _interval(row: Row) -> str:
    return "–".join(_points(row, end) for end in row.get("interval") or ())


def _with_error(row: Row) -> str:
    return " ± ".join(filter(None, [_average(row), _error(row)]))


def _at_every_rate(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows; those of a method known at rate 0 alone come once for every rate of their model and data."""
    everywhere, own = defaultdict(set), defaultdict(set)
    for row in rows:
        everywhere[_scope(row)].add(row["rate"])
        own[_scope(row), row["method"]].add(row["rate"])
    for row in rows:
        others = everywhere[_scope(row)] - {0.0}
        copied = own[_scope(row), row["method"]] == {0.0} and others
        yield from ({**row, "rate": rate} for rate in (sorted(others) if copied else [row["rate"]]))


def _scope(row: Row) -> tuple[str, str, str]:
    return row.get("model", ""), row.get("data", ""), row.get("source", {}).get("table", "")


@dataclass(frozen=True)
class Layout:
    """One of the tables.

    Args:
        build: from rows and, where the paper has such numbers, published rows to the table.
        fields: that each result must have, as "text", "number" or "numbers".
        published: names of the published tables that belong beside it.
    """

    build: Callable[..., Table]
    fields: dict[str, str]
    published: tuple[str, ...] = ()


_ACCURACY = {"method": "text", "rate": "number", "acc": "numbers", "avg": "number"}
_TIMES = {"method": "text", "rate": "number", "ttft_ms": "number", "total_ms": "number"}
# the richer source first: a measured row stands beside the first published one that agrees with it
_PAPER = ("table4", "table5", "table8", "table1")
LAYOUTS = {
    "accuracy": Layout(accuracy_table, _ACCURACY, _PAPER),
    "average": Layout(average_table, _ACCURACY, _PAPER),
    "curve": Layout(curve_table, _ACCURACY, _PAPER),
    "kinds": Layout(kinds_table, _ACCURACY),
    "ablation": Layout(ablation_table, _ACCURACY, ("table6",)),
    "transfer": Layout(transfer_table, {**_ACCURACY, "data": "text"}, ("table7",)),
    "efficiency": Layout(efficiency_table, _TIMES, ("table2",)),
}
