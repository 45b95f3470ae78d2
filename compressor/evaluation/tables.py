"""Accuracy results as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def accuracy_table(rows: Sequence[Row]) -> str:
    """One row per method and rate: Acc_t, Avg, its standard error and 95 % interval."""
    turns = range(1, len(rows[0]["acc"]) + 1)
    head = ["method", "rate", "tokens", *[f"Acc{t}" for t in turns], "Avg", "s.e.", "95 % interval"]
    body = [
        [
            *(row["method"], f"{row['rate']:.0%}", f"{row['image_tokens']:.0f}"),
            *[f"{x:.1f}" for x in (*row["acc"], row["avg"], row["standard_error"])],
            "–".join(f"{x:.1f}" for x in row["interval"]),
        ]
        for row in rows
    ]
    return _markdown(head, body)


def average_table(rows: Sequence[Row]) -> str:
    """Methods down, rates across, Avg in percent with its standard error."""
    rates = sorted({row["rate"] for row in rows if row["rate"] > 0})
    by = {(row["method"], row["rate"]): f"{row['avg']:.1f} ± {row['standard_error']:.1f}" for row in rows}
    names = dict.fromkeys(row["method"] for row in rows)
    body = [[name, *[by.get((name, 0.0)) or by.get((name, rate), "") for rate in rates]] for name in names]
    return _markdown(["method", *[f"{rate:.0%}" for rate in rates]], body)


def kinds_table(rows: Sequence[Row]) -> str:
    """Accuracy by kind of question, one column per result, in percent."""
    head = ["kind", *[f"{row['method']} {row['rate']:.0%}" if row["rate"] else row["method"] for row in rows]]
    return _markdown(head, [[kind, *[f"{r['kinds'][kind]:.0f}" for r in rows]] for kind in rows[0]["kinds"]])


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
