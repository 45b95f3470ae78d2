"""``evaluate``: accuracy of methods on the dialogues of a benchmark."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.assets import ASSETS
from compressor.cli.arguments import (
    add_model,
    command_line,
    made_method,
    names,
    open_model,
    options_of,
    rates,
    write_json,
)
from compressor.errors import InvalidOptionError

if TYPE_CHECKING:
    from compressor.data.benchmarks import Benchmark
    from compressor.dialogues import Dialogue
    from compressor.evaluation.accuracy import Accuracy
    from compressor.evaluation.answering import Setting
    from compressor.evaluation.judge import Judge
    from compressor.evaluation.run_folder import RunFolder
    from compressor.models.base import VisionLanguageModel

    Asked = tuple[Sequence[Dialogue], Sequence[Setting]]

REFERENCES = ("grid", "topk", "oracle")


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    evaluate = commands.add_parser("evaluate", help="accuracy on the multi-turn dialogues of a benchmark")
    option = evaluate.add_argument
    add_model(evaluate)
    option(
        "--data",
        default="scenes",
        help="scenes, scenes-a, scenes-b, dense-scenes, gqa, vqa-v2, convbench, video-mme",
    )
    option("--folder", type=Path, help="that holds the files of the benchmark")
    option("--split", default="validation", help="train or validation; choosing, of dense-scenes")
    option(
        "--methods",
        type=names,
        default=["none", "sample", "metacompress"],
        help="names, each with its options if any, e.g. sample,visionzip:per_view=64,fastv:layer=3",
    )
    option("--rates", type=rates, default=[0.9], help="shares of tokens that go, e.g. 0.7,0.9")
    option("--dialogues", type=int, help="how many at most; if not given all there are, and 500 scenes")
    option("--turns", type=int, default=3)
    option("--seed", type=int, default=0, help="of the choice and the grouping of dialogues")
    option("--batch", type=int, default=25, help="dialogues answered side by side")
    option("--references", type=names, default=[], help=f"any of {', '.join(REFERENCES)}")
    option("--compressor", type=Path, action="append", default=[], help="folder of more MetaCompress weights")
    option("--gray", action="store_true", help="also answer on a gray image")
    option("--judge", help="of ConvBench: address of an OpenAI-compatible endpoint, or a local text model")
    option("--judge-model", help="name of the model at that address")
    option("--out", type=Path, help="folder for the answers; a run that was killed goes on there")
    option("--json", type=Path, help="write the results and this command to a file")
    evaluate.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answers, marks and prints tables, and writes JSON where asked; processes share the answering."""
    from compressor.data.benchmarks import get_benchmark
    from compressor.evaluation.processes import launched
    from compressor.evaluation.run_folder import RunFolder

    state, benchmark = launched(), get_benchmark(args.data)
    judge = _judge(args, benchmark) if state.is_main_process else None
    dialogues = benchmark.dialogues(args.split, args.dialogues, args.folder, args.seed, args.turns)
    if args.batch < 1 or len(dialogues) < 2:
        raise InvalidOptionError("A standard error needs at least 2 dialogues, and a batch at least 1.")
    model = open_model(args, state.device if state.num_processes > 1 else None)
    asked = _asked(args, model, dialogues)
    about = {"model": model.name, "data": args.data, "split": args.split, "dialogues": len(dialogues)}
    about |= {"seed": args.seed, "turns": args.turns, **options_of(args)}
    folder = RunFolder(args.out, about) if args.out else None
    answers = _answers(args, benchmark, model, asked, folder)
    if state.is_main_process:
        _report(args, _results(benchmark, asked, answers, judge, folder))


def _judge(args: argparse.Namespace, benchmark: "Benchmark") -> "Judge | None":
    from compressor.evaluation.judge import open_judge
    from compressor.evaluation.scoring import scorer

    if benchmark.scorer == "judge" and args.judge:
        return open_judge(args.judge, args.judge_model)
    if args.judge:
        raise InvalidOptionError(f"The answers of {benchmark.title} are marked by a rule: leave --judge out.")
    scorer(benchmark.scorer)  # says what is missing
    return None


def _asked(
    args: argparse.Namespace, model: "VisionLanguageModel", dialogues: Sequence["Dialogue"]
) -> list["Asked"]:
    """Which dialogues are to be answered under which settings; that of all tokens has no rates."""
    from compressor import get_method
    from compressor.evaluation.answering import Setting
    from compressor.evaluation.gray import gray_dialogues
    from compressor.methods.metacompress import MetaCompress

    settings = []
    for text in args.methods:
        method = made_method(text, model)
        settings += [Setting.of(method, rate, text) for rate in ([0.0] if text == "none" else args.rates)]
    for folder in args.compressor:
        learned = MetaCompress.load(folder, model_name=model.name, d=model.width).to(model.device)
        settings += [Setting.of(learned, rate, _label(folder)) for rate in args.rates]
    settings += [_reference(name, args, rate) for name in args.references for rate in args.rates]
    asked = [(dialogues, settings)] if settings else []
    if args.gray:
        asked.append((gray_dialogues(dialogues), [Setting.of(get_method("none"), 0.0, "gray image")]))
    if not asked:
        raise InvalidOptionError("There is nothing to evaluate: name a method, or a compressor's folder.")
    return asked


def _label(folder: Path) -> str:
    return f"metacompress: {folder.resolve().name}"


def _reference(name: str, args: argparse.Namespace, rate: float) -> "Setting":
    from compressor.data.benchmarks import get_benchmark
    from compressor.evaluation import references
    from compressor.evaluation.answering import Setting

    if name not in REFERENCES:
        raise InvalidOptionError(f"There is no reference {name!r}; choose among {', '.join(REFERENCES)}.")
    if name == "oracle" and get_benchmark(args.data).needs_folder:
        raise InvalidOptionError("The oracle knows where objects are in generated scenes only: leave it out.")
    if name == "topk":
        topk = references.TopK.load(ASSETS / "compressors" / f"{args.model}-topk" / "topk.pt")
        return Setting("reference: topk", rate, topk.project)
    project = references.grid_sample if name == "grid" else references.oracle
    return Setting(f"reference: {name}", rate, project)


def _answers(
    args: argparse.Namespace,
    benchmark: "Benchmark",
    model: "VisionLanguageModel",
    asked: Sequence["Asked"],
    folder: "RunFolder | None",
) -> dict:
    """All answers, with a bar for this process's share of them."""
    from tqdm import tqdm

    from compressor.evaluation.accuracy import collect
    from compressor.evaluation.processes import launched

    state, found = launched(), {}
    share = -(-sum(len(dialogues) * len(settings) for dialogues, settings in asked) // state.num_processes)
    with tqdm(total=share, unit=" answers", disable=not state.is_main_process) as bar:
        for dialogues, settings in asked:
            found |= collect(
                model,
                dialogues,
                settings,
                folder=folder,
                batch=args.batch,
                max_new_tokens=benchmark.max_new_tokens,
                progress=bar.update,
            )
    return found


def _results(
    benchmark: "Benchmark",
    asked: Sequence["Asked"],
    answers: Mapping,
    judge: "Judge | None",
    folder: "RunFolder | None",
) -> list["Accuracy"]:
    from compressor.evaluation.accuracy import judged, marked
    from compressor.evaluation.judge import mark
    from compressor.evaluation.scoring import scorer

    if judge is None:
        score = scorer(benchmark.scorer)
        return [marked(dialogues, s, answers, score) for dialogues, settings in asked for s in settings]
    results = []
    for dialogues, settings in asked:
        said = [answers[setting.key, dialogue.id] for setting in settings for dialogue in dialogues]
        marks = mark(judge, dialogues, said, folder.marks if folder else None)
        results += [judged(dialogues, setting, answers, marks) for setting in settings]
    return results


def _report(args: argparse.Namespace, results: Sequence["Accuracy"]) -> None:
    """Tables on the standard output, and the file."""
    from compressor.evaluation import tables
    from compressor.evaluation.accuracy import differences

    learned = {_label(folder): _training(folder) for folder in args.compressor}
    rows = [
        result.as_data(model=args.model, data=args.data, **learned.get(result.method, {}))
        for result in results
    ]
    compared = [
        line
        for first in ("metacompress", *learned)
        for second in args.methods
        if second not in ("none", "metacompress")
        for line in differences(results, first, second)
    ]
    if args.json:
        data = {
            "command": command_line(args),
            "dialogues": len(results[0].scores),
            "results": rows,
            "paired": compared,
        }
        write_json(args.json, data)
    print(tables.accuracy_table(rows))
    print(f"\n{tables.average_table(rows)}")
    if any(row["kinds"] for row in rows):
        print(f"\n{tables.kinds_table([row for row in rows if row['rate'] in (0.0, 0.9)] or rows)}")
    print()
    for line in compared:
        print(
            f"{line['rate']:.0%} {line['difference']}: {line['points']:+.1f} ± {line['standard_error']:.1f}"
        )
    for result in results:
        if result.unscored:
            print(
                f"{result.method} {result.rate:.0%}: the judge gave no scores for {result.unscored} of "
                f"{len(result.scores)} dialogues, which are left out."
            )


def _training(folder: Path) -> dict[str, Any]:
    """What the ablation and the transfer table ask of a compressor, where its config tells it."""
    provenance = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("provenance", {})
    settings = provenance.get("settings")
    if settings is None:
        return {}
    terms = {name: settings[name] > 0 for name in ("entropy", "collapse")}
    terms["clip"] = settings["clip_by"] != "none"
    return {"trained_on": provenance["data"], "terms": terms}
