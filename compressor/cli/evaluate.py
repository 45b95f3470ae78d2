"""``evaluate``: accuracy on held-out dialogues."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from compressor.cli.arguments import command_line, names, rates, write_json
from compressor.errors import StudioError

REFERENCES = ("grid", "topk", "oracle")
ASSETS = Path(__file__).resolve().parents[2] / "assets"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    evaluate = commands.add_parser("evaluate", help="accuracy on held-out three-turn dialogues")
    evaluate.add_argument("--model", default="tiny")
    evaluate.add_argument("--methods", type=names, default=["none", "sample", "metacompress"])
    evaluate.add_argument("--rates", type=rates, default=[0.9], help="shares of tokens that go, e.g. 0.7,0.9")
    evaluate.add_argument("--dialogues", type=int, default=500)
    evaluate.add_argument("--turns", type=int, default=3)
    evaluate.add_argument("--references", type=names, default=[], help=f"any of {', '.join(REFERENCES)}")
    evaluate.add_argument(
        "--compressor", type=Path, action="append", default=[], help="folder of further MetaCompress weights"
    )
    evaluate.add_argument("--gray", action="store_true", help="also answer on a gray image")
    evaluate.add_argument("--json", type=Path, help="write the results and this command to a file")
    evaluate.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints the tables, and writes them as JSON where asked."""
    from compressor import load_model
    from compressor.data import scenes
    from compressor.evaluation import tables
    from compressor.evaluation.accuracy import by_method, differences, encode_all, evaluate, random_per_image
    from compressor.evaluation.gray import gray_dialogues
    from compressor.methods.metacompress import MetaCompress
    from compressor.methods.registry import get_method

    model = load_model(args.model)
    dialogues = [scenes.dialogue(scenes.HELD_OUT + i, args.turns) for i in range(args.dialogues)]
    methods = {name: get_method(name, model=model) for name in args.methods}
    want = frozenset().union(*(method.needs for method in methods.values()))
    tokens = encode_all(model, dialogues, want)
    plans = [
        (name, random_per_image if name == "random" else by_method(method))
        for name, method in methods.items()
    ]
    plans += [
        (f"metacompress: {folder.name}", by_method(MetaCompress.load(folder, d=model.width)))
        for folder in args.compressor
    ]
    plans += [(f"reference: {name}", _reference(name, args.model)) for name in args.references]
    results = []
    for name, project in plans:
        for rate in [0.0] if name == "none" else args.rates:
            since = time.perf_counter()
            results.append(evaluate(model, dialogues, tokens, project, rate, name))
            print(f"{name} {rate:.0%}: {time.perf_counter() - since:.0f} s", file=sys.stderr)
    if args.gray:
        blind = gray_dialogues(dialogues)
        project = by_method(get_method("none"))
        results.append(evaluate(model, blind, encode_all(model, blind), project, 0.0, "gray image"))
    compared = [
        line
        for other in ("sample", "random", "spatial")
        for line in differences(results, "metacompress", other)
    ]
    rows = [result.as_data() for result in results]
    print(tables.accuracy_table(rows))
    print(f"\n{tables.average_table(rows)}")
    print(f"\n{tables.kinds_table([row for row in rows if row['rate'] in (0.0, 0.9)] or rows)}")
    for line in compared:
        print(
            f"{line['rate']:.0%} {line['difference']}: {line['points']:+.1f} ± {line['standard_error']:.1f}"
        )
    if args.json:
        data = {
            "command": command_line(args),
            "dialogues": len(dialogues),
            "results": rows,
            "paired": compared,
        }
        write_json(args.json, data)


def _reference(name: str, model: str) -> Callable:
    from compressor.evaluation import references

    if name == "topk":
        return references.TopK.load(ASSETS / "compressors" / f"{model}-topk" / "topk.pt").project
    known = {"grid": references.grid_sample, "oracle": references.oracle}
    if name not in known:
        raise StudioError(f"There is no reference {name!r}; choose among {', '.join(REFERENCES)}.")
    return known[name]
