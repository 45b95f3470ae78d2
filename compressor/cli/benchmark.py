"""``benchmark``: how long every method takes beside one prefill."""

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    speed = commands.add_parser("benchmark", help="time of every method beside one prefill")
    speed.add_argument("--model", default="tiny")
    speed.add_argument("--rate", type=float, default=0.9)
    speed.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Milliseconds of every method at two numbers of tokens, and their ratio to one prefill."""
    from compressor import load_model
    from compressor.evaluation import speed

    model = load_model(args.model)
    measured = {n: speed.method_times(model, n, args.rate) for n in speed.GRIDS}
    print("| | " + " | ".join(f"n = {n}: ms | of a prefill" for n in measured) + " |")
    print("| --- " * (1 + 2 * len(measured)) + "|")
    for name in next(iter(measured.values())):
        cells = [f"{1e3 * t[name]:.1f} | {t[name] / t['prefill']:.2f}" for t in measured.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
