"""``evaluate``: accuracy of methods on the dialogues of a benchmark."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.cli.arguments import command_line, names, rates, write_json
from compressor.errors import InvalidOptionError

if TYPE_CHECKING:
    from compressor.data.benchmarks import Benchmark
    from compressor.data.dialogues import Dialogue
    from compressor.evaluation.accuracy import Accuracy
    from compressor.evaluation.answering import Setting
    from compressor.models.base import VisionLanguageModel

REFERENCES = ("grid", "topk", "oracle")
ASSETS = Path(__file__).resolve().parents[2] / "assets"
GRAY = "gray image"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    evaluate = commands.add_parser("evaluate", help="accuracy on the multi-turn dialogues of a benchmark")
    add_option = evaluate.add_argument
    add_option("--model", default="tiny", help="catalog name or a checkpoint's directory")
    add_option(
        "--data", default="scenes", help="scenes, scenes-a, scenes-b, gqa, vqa-v2, convbench or video-mme"
    )
    add_option("--folder", type=Path, help="where the files of the benchmark are")
    add_option("--split", default="validation", help="train or validation")
    add_option("--methods", type=names, default=["none", "sample", "metacompress"])
    add_option("--rates", type=rates, default=[0.9], help="shares of tokens that go, e.g. 0.7,0.9")
    add_option("--dialogues", type=int, help="how many at most; all there are, and 500 scenes, if not given")
    add_option("--turns", type=int, default=3)
    add_option("--seed", type=int, default=0, help="of the choice and grouping of the dialogues")
    add_option("--batch", type=int, default=25, help="dialogues answered side by side")
    add_option("--references", type=names, default=[], help=f"any of {', '.join(REFERENCES)}")
    add_option(
        "--compressor", type=Path, action="append", default=[], help="folder of further MetaCompress weights"
    )
    add_option("--gray", action="store_true", help="also answer on a gray image")
    add_option("--judge", help="address of an OpenAI-compatible endpoint, or a local text model")
    add_option("--judge-model", help="the model to ask for at that address")
    add_option("--out", type=Path, help="folder for the answers; a run that was killed goes on there")
    add_option("--json", type=Path, help="write the results and this command to a file")
    evaluate.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answers, marks, prints the tables, and writes them as JSON where asked."""
    from compressor.data.benchmarks import get_benchmark
    from compressor.evaluation.processes import launched

    state = launched()
    benchmark = get_benchmark(args.data)
    if args.batch < 1:
        raise InvalidOptionError(f"At least 1 dialogue is answered at a time, not {args.batch}.")
    judge = _judge(args, benchmark) if state.is_main_process else None
    dialogues = benchmark.dialogues(args.split, args.dialogues, args.folder, args.seed, args.turns)
    if len(dialogues) < 2:
        raise InvalidOptionError("A standard error needs at least 2 dialogues: ask for more.")
    parts, collected, folder = _answers(args, benchmark, dialogues)
    if state.is_main_process:
        results = _results(benchmark, parts, collected, judge, folder)
        _report(args, results)


Part = tuple[Sequence["Dialogue"], Sequence["Setting"]]


def _answers(
    args: argparse.Namespace, benchmark: "Benchmark", dialogues: Sequence["Dialogue"]
) -> tuple[list[Part], dict, Any]:
    """Which dialogues are asked under which settings, all answers, and where they are kept."""
    from tqdm import tqdm

    from compressor import get_method, load_model
    from compressor.evaluation.accuracy import collect
    from compressor.evaluation.answering import Setting
    from compressor.evaluation.gray import gray_dialogues
    from compressor.evaluation.processes import launched
    from compressor.evaluation.run_folder import RunFolder

    state = launched()
    model = load_model(args.model, device=state.device if state.num_processes > 1 else None)
    parts: list[Part] = [(dialogues, _settings(args, model))]
    if args.gray:
        parts.append((gray_dialogues(dialogues), [Setting.of(get_method("none"), 0.0, GRAY)]))
    about = {"model": model.name, "data": args.data, "split": args.split, "dialogues": len(dialogues)}
    folder = RunFolder(args.out, {**about, "seed": args.seed, "turns": args.turns}) if args.out else None
    collected = {}
    total = -(-sum(len(asked) * len(settings) for asked, settings in parts) // state.num_processes)
    with tqdm(total=total, unit=" answers", disable=not state.is_main_process) as bar:
        for asked, settings in parts:
            collected |= collect(
                model,
                asked,
                settings,
                folder=folder,
                batch=args.batch,
                max_new_tokens=benchmark.max_new_tokens,
                progress=bar.update,
            )
    return parts, collected, folder


def _settings(args: argparse.Namespace, model: "VisionLanguageModel") -> list["Setting"]:
    """Every method at every rate, all tokens only once; further weights go by the name of their folder."""
    from compressor import get_method
    from compressor.evaluation.answering import Setting
    from compressor.methods.metacompress import MetaCompress

    settings = []
    for name in args.methods:
        method = get_method(name, model=model)
        settings += [Setting.of(method, rate) for rate in ([0.0] if name == "none" else args.rates)]
    for folder in args.compressor:
        learned = MetaCompress.load(folder, model_name=model.name, d=model.width).to(model.device)
        settings += [Setting.of(learned, rate, folder.resolve().name) for rate in args.rates]
    for name in args.references:
        settings += [_reference(name, args, rate) for rate in args.rates]
    if not settings and not args.gray:
        raise InvalidOptionError("There is nothing to evaluate: name a method or a compressor's folder.")
    return settings


def _reference(name: str, args: argparse.Namespace, rate: float) -> "Setting":
    from compressor.evaluation import references
    from compressor.evaluation.answering import Setting

    if name not in REFERENCES:
        raise InvalidOptionError(f"There is no reference {name!r}; choose among {', '.join(REFERENCES)}.")
    if name == "oracle" and not args.data.startswith("scenes"):
        raise InvalidOptionError("The oracle knows where objects are in generated scenes only: leave it out.")
    if name == "topk":
        topk = references.TopK.load(ASSETS / "compressors" / f"{args.model}-topk" / "topk.pt")
        return Setting("reference: topk", rate, topk.project)
    project = references.grid_sample if name == "grid" else references.oracle
    return Setting(f"reference: {name}", rate, project)


def _judge(args: argparse.Namespace, benchmark: "Benchmark") -> Any:
    from compressor.evaluation.judge import open_judge
    from compressor.evaluation.scoring import scorer

    if benchmark.scorer == "judge" and args.judge:
        return open_judge(args.judge, args.judge_model)
    if args.judge:
        raise InvalidOptionError(f"The answers of {benchmark.title} are marked by a rule: leave --judge out.")
    scorer(benchmark.scorer)  # says what is missing
    return None


def _results(
    benchmark: "Benchmark", parts: Sequence[Part], collected: dict, judge: Any, folder: Any
) -> list["Accuracy"]:
    from compressor.evaluation import accuracy
    from compressor.evaluation.judge import mark
    from compressor.evaluation.scoring import scorer

    if judge is None:
        score = scorer(benchmark.scorer)
        return [accuracy.marked(asked, s, collected, score) for asked, settings in parts for s in settings]
    results = []
    for asked, settings in parts:
        answers = [collected[setting.key, dialogue.id] for setting in settings for dialogue in asked]
        marks = mark(judge, asked, answers, folder.marks if folder else None)
        results += [accuracy.judged(asked, setting, collected, marks) for setting in settings]
    return results


def _report(args: argparse.Namespace, results: Sequence["Accuracy"]) -> None:
    """Tables on the standard output, and the file."""
    from compressor.evaluation import tables
    from compressor.evaluation.accuracy import differences

    rows = [result.as_data(model=args.model, data=args.data) for result in results]
    learned = ["metacompress", *dict.fromkeys(folder.resolve().name for folder in args.compressor)]
    compared = [
        line
        for first in learned
        for second in ("sample", "random", "spatial")
        for line in differences(results, first, second)
    ]
    print(tables.accuracy_table(rows))
    print("\n" + tables.average_table(rows))
    if any(row["kinds"] for row in rows):
        print("\n" + tables.kinds_table([row for row in rows if row["rate"] in (0.0, 0.9)] or rows) + "\n")
    for line in compared:
        print(
            f"{line['rate']:.0%} {line['difference']}: {line['points']:+.1f} ± {line['standard_error']:.1f}"
        )
    for result in results:
        if result.unscored:
            print(
                f"{result.method} {result.rate:.0%}: the judge gave no score for {result.unscored} of "
                f"{len(result.scores)} dialogues; they are left out.",
                file=sys.stderr,
            )
    if args.json:
        data = {
            "command": command_line(args),
            "dialogues": len(results[0].scores),
            "results": rows,
            "paired": compared,
        }
        write_json(args.json, data)
