"""The command line: ``python -m compressor evaluate | train | attention-overlap | benchmark | models``."""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from compressor.errors import InvalidOptionError, StudioError

REFERENCES = ("grid", "topk", "oracle")
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _rates(text: str) -> list[float]:
    return [float(rate) for rate in _names(text)]


def _command(args: argparse.Namespace) -> str:
    """The command line that was given, to stand beside its results."""
    return shlex.join(["python", "-m", "compressor", *args.given])


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m compressor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    evaluate = commands.add_parser("evaluate", help="accuracy on held-out three-turn dialogues")
    evaluate.add_argument("--model", default="tiny")
    evaluate.add_argument("--methods", type=_names, default=["none", "sample", "metacompress"])
    evaluate.add_argument(
        "--rates", type=_rates, default=[0.9], help="shares of tokens that go, e.g. 0.7,0.9"
    )
    evaluate.add_argument("--dialogues", type=int, default=500)
    evaluate.add_argument("--turns", type=int, default=3)
    evaluate.add_argument("--references", type=_names, default=[], help=f"any of {', '.join(REFERENCES)}")
    evaluate.add_argument(
        "--compressor", type=Path, action="append", default=[], help="folder of further MetaCompress weights"
    )
    evaluate.add_argument("--gray", action="store_true", help="also answer on a gray image")
    evaluate.add_argument("--json", type=Path, help="write the results and this command to a file")
    evaluate.set_defaults(run=run_evaluate)

    train = commands.add_parser("train", help="train MetaCompress for a model on generated scenes")
    train.add_argument("--model", default="tiny")
    train.add_argument("--out", type=Path, required=True, help="folder for the weights, config and log")
    train.add_argument("--generator", choices=("metacompress", "topk"), default="metacompress")
    train.add_argument("--pool", choices=("max", "average"), default="average")
    train.add_argument("--width", type=int, default=64, help="d_c")
    train.add_argument("--rates", type=_rates, default=[0.5, 0.7, 0.8, 0.9, 0.9, 0.95, 0.95])
    train.add_argument("--entropy", type=float, default=0.03, help="lambda_e of equation 10")
    train.add_argument("--collapse", type=float, default=0.1, help="lambda_c of equation 10")
    train.add_argument("--steps", type=int, default=600)
    train.add_argument("--learning-rate", type=float, default=1e-3, help="of AdamW, at its peak")
    train.add_argument("--dialogues", type=int, default=1536)
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=run_train)

    overlap = commands.add_parser(
        "attention-overlap", help="share of the tokens MetaCompress keeps that attention points at"
    )
    overlap.add_argument("--model", default="tiny")
    overlap.add_argument("--rates", type=_rates, default=[0.5, 0.7, 0.8, 0.9, 0.95])
    overlap.add_argument("--dialogues", type=int, default=200)
    overlap.add_argument("--json", type=Path, help="write the results and this command to a file")
    overlap.set_defaults(run=run_overlap)

    speed = commands.add_parser("benchmark", help="time of every method beside one prefill")
    speed.add_argument("--model", default="tiny")
    speed.add_argument("--rate", type=float, default=0.9)
    speed.set_defaults(run=run_benchmark)

    models = commands.add_parser("models", help="list the models")
    models.set_defaults(run=run_models)
    return parser


def run_evaluate(args: argparse.Namespace) -> None:
    """Prints the tables, and writes them as JSON where asked."""
    from compressor import load_model
    from compressor.data import scenes
    from compressor.evaluation import tables
    from compressor.evaluation.accuracy import by_method, encode_all, evaluate, random_per_image
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
        for line in tables.differences(results, "metacompress", other)
    ]
    print(tables.accuracy_table(results))
    print("\n" + tables.average_table(results))
    print("\n" + tables.kinds_table([r for r in results if r.rate in (0.0, 0.9)] or results))
    for line in compared:
        print(
            f"{line['rate']:.0%} {line['difference']}: {line['points']:+.1f} ± {line['standard_error']:.1f}"
        )
    if args.json:
        data = {
            "command": _command(args),
            "dialogues": len(dialogues),
            "results": [tables.as_data(r) for r in results],
            "paired": compared,
        }
        _write(args.json, data)


def _reference(name: str, model: str) -> Callable:
    from compressor.evaluation import references

    if name == "topk":
        return references.TopK.load(ASSETS / "compressors" / f"{model}-topk" / "topk.pt").project
    known = {"grid": references.grid_sample, "oracle": references.oracle}
    if name not in known:
        raise StudioError(f"There is no reference {name!r}; choose among {', '.join(REFERENCES)}.")
    return known[name]


def run_train(args: argparse.Namespace) -> None:
    """Trains a generator of P and writes its weights, config and log."""
    import torch

    from compressor import load_model
    from compressor.data import scenes
    from compressor.evaluation.references import TopK
    from compressor.methods.metacompress import MetaCompress
    from compressor.training import trainer

    model = load_model(args.model)
    settings = trainer.Settings(
        steps=args.steps,
        rates=tuple(args.rates),
        peak=args.learning_rate,
        entropy=args.entropy if args.generator == "metacompress" else 0.0,
        collapse=args.collapse if args.generator == "metacompress" else 0.0,
        clip=1e-2 if args.generator == "metacompress" else 1.0,
        seed=args.seed,
    )
    torch.manual_seed(args.seed)
    first = FIRST_TRAINING_SCENE
    samples = trainer.prepare(model, [scenes.dialogue(first + i, 8) for i in range(args.dialogues)])
    log = trainer.write_log(args.out / "log.jsonl", settings)

    def show(line: dict) -> None:
        print(json.dumps(line), file=sys.stderr, flush=True)
        log(line)

    if args.generator == "topk":
        topk = TopK(model.width, samples.embeddings.shape[1])
        trainer.fit(model, topk, samples, settings, show)
        torch.save(topk.state_dict(), args.out / "topk.pt")
        return
    generator = MetaCompress.create(model, d_c=args.width, pool=args.pool, seed=args.seed)
    trainer.fit(model, generator, samples, settings, show)
    provenance = {"command": _command(args), "data": f"generated scenes {first} onwards", **asdict(settings)}
    generator.save(args.out, provenance)


FIRST_TRAINING_SCENE = 200_000_000  # apart from the scenes that the bundled model was trained on


def run_overlap(args: argparse.Namespace) -> None:
    """Overlap of the tokens that the learned P keeps with those of high attention, and chance."""
    from compressor import get_method, load_model
    from compressor.data import scenes
    from compressor.evaluation.overlap import attention_overlap

    if args.dialogues < 2:
        raise InvalidOptionError("A standard error needs at least 2 dialogues.")
    model = load_model(args.model)
    dialogues = [scenes.dialogue(scenes.HELD_OUT + i) for i in range(args.dialogues)]
    results = attention_overlap(model, get_method("metacompress", model=model), dialogues, args.rates)
    print("| rate | tokens kept | top [CLS] attention, % | top prompt attention, % | by chance, % |")
    print("| --- | --- | --- | --- | --- |")
    for r in results:
        print(
            f"| {r.rate:.0%} | {r.kept:.1f} | {r.cls:.1f} ± {r.cls_error:.1f} "
            f"| {r.prompt:.1f} ± {r.prompt_error:.1f} | {r.chance:.1f} |"
        )
    if args.json:
        data = {
            "command": _command(args),
            "dialogues": len(dialogues),
            "results": [asdict(r) for r in results],
        }
        _write(args.json, data)


def _write(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def run_benchmark(args: argparse.Namespace) -> None:
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


def run_models(args: argparse.Namespace) -> None:
    """One line per model of the catalog."""
    from compressor import list_models

    for card in list_models():
        print(f"{card.name:20} {card.title}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; an error a user can meet is one sentence on stderr and exit code 2."""
    given = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(given, argparse.Namespace(given=given))
    try:
        args.run(args)
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
