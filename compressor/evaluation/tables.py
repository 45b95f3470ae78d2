"""Accuracy results as Markdown and as plain data for JSON."""

from collections.abc import Sequence

from compressor.evaluation.accuracy import Accuracy, paired_difference


def find(results: Sequence[Accuracy], method: str, rate: float) -> Accuracy | None:
    """The result of a method at a rate."""
    return next((r for r in results if r.method == method and r.rate == rate), None)


def accuracy_table(results: Sequence[Accuracy]) -> str:
    """One row per method and rate: Acc_t, Avg and its standard error, in percent."""
    turns = range(1, results[0].correct.shape[1] + 1)
    head = ["method", "rate", "tokens", *[f"Acc{t}" for t in turns], "Avg", "s.e."]
    rows = [
        [
            *(r.method, f"{r.rate:.0%}", f"{r.tokens:.0f}"),
            *[f"{x:.1f}" for x in (*r.per_turn, r.average, r.standard_error)],
        ]
        for r in results
    ]
    return _markdown(head, rows)


def average_table(results: Sequence[Accuracy]) -> str:
    """Methods down, rates across, Avg in percent with its standard error."""
    rates = sorted({r.rate for r in results if r.rate > 0})
    rows = []
    for name in dict.fromkeys(r.method for r in results):
        full = find(results, name, 0.0)
        found = [full or find(results, name, rate) for rate in rates]
        rows.append([name, *[f"{r.average:.1f} ± {r.standard_error:.1f}" if r else "" for r in found]])
    return _markdown(["method", *[f"{rate:.0%}" for rate in rates]], rows)


def kinds_table(results: Sequence[Accuracy]) -> str:
    """Accuracy by kind of question, one column per result, in percent."""
    columns = [r.per_kind() for r in results]
    head = ["kind", *[f"{r.method} {r.rate:.0%}" if r.rate else r.method for r in results]]
    return _markdown(head, [[kind, *[f"{c[kind]:.0f}" for c in columns]] for kind in columns[0]])


def differences(results: Sequence[Accuracy], first: str, second: str) -> list[dict]:
    """Avg of one method minus another's at every rate where both were run, with the paired standard error."""
    found = []
    for result in results:
        other = find(results, second, result.rate)
        if result.method == first and other is not None:
            value, error = paired_difference(result, other)
            found.append(
                {
                    "rate": result.rate,
                    "difference": f"{first} - {second}",
                    "points": round(value, 2),
                    "standard_error": round(error, 2),
                }
            )
    return found


def as_data(result: Accuracy) -> dict:
    """A result as numbers for JSON, in percent."""
    return {
        "method": result.method,
        "rate": result.rate,
        "image_tokens": round(result.tokens, 1),
        "acc": [round(x, 2) for x in result.per_turn],
        "avg": round(result.average, 2),
        "standard_error": round(result.standard_error, 2),
        "kinds": {kind: round(x, 1) for kind, x in result.per_kind().items()},
    }


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
