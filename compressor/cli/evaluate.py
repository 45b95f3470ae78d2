"""``evaluate``: accuracy of methods on the dialogues of a benchmark."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.assets import ASSETS
from compressor.cli.arguments import (
    add_model,
    build_method,
    command_line,
    names,
    open_model,
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

    EvaluationRequest = tuple[Sequence[Dialogue], Sequence[Setting]]

BASELINES = ("grid", "topk", "oracle")


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    evaluate = commands.add_parser("evaluate", help="accuracy on the multi-turn dialogues of a benchmark")
    option = evaluate.add_argument
    add_model(evaluate)
    option(
        "--data",
        default="scenes",
        help="benchmark: scenes, scenes-a, scenes-b, dense-scenes, gqa, vqa-v2, convbench or video-mme",
    )
    option("--folder", type=Path, help="folder with the files of the benchmark")
    option(
        "--split",
        default="validation",
        help="split of the benchmark: train or validation; choosing for dense-scenes",
    )
    option(
        "--methods",
        type=names,
        default="none,sample,metacompress",
        help="names of methods, with options if any, e.g. sample,visionzip:per_view=64,fastv:layer=3",
    )
    option("--rates", type=rates, default="0.9", help="compression rates, e.g. 0.7,0.9")
    option(
        "--dialogues",
        type=int,
        help="maximum number of dialogues; all of the benchmark (scenes: 500) if not given",
    )
    option("--turns", type=int, default=3, help="turns per dialogue")
    option("--seed", type=int, default=0, help="seed of the choice and the grouping of dialogues")
    option("--batch", type=int, default=25, help="dialogues answered side by side")
    option(
        "--references", type=names, default="", help=f"reference selections, any of {', '.join(BASELINES)}"
    )
    option(
        "--compressor",
        type=Path,
        action="append",
        default=[],
        help="folder of further MetaCompress weights; may be repeated",
    )
    option("--skip-missing", action="store_true", help="omission of ConvBench rows without their image")
    option("--gray", action="store_true", help="further answers on a plain gray image")
    option(
        "--judge", help="judge of ConvBench: address of an OpenAI-compatible endpoint, or local text model"
    )
    option("--judge-model", help="name of the model at that address")
    option("--out", type=Path, help="folder for the answers; a killed run resumes there")
    option("--json", type=Path, help="JSON file for the results and the command")
    evaluate.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answers, grades and prints tables, and writes JSON where requests; processes share the answering."""
    from compressor.data.benchmarks import get_benchmark
    from compressor.evaluation.run_folder import RunFolder, process_state

    state, benchmark = process_state(), get_benchmark(args.data)
    judge = _judge(args, benchmark) if state.is_main_process else None
    left_out: list[str] = []
    dialogues = benchmark.dialogues(
        args.split,
        args.dialogues,
        args.folder,
        args.seed,
        args.turns,
        left_out.append if args.skip_missing else None,
    )
    if args.batch < 1 or len(dialogues) < 2:
        raise InvalidOptionError("A standard error needs at least 2 dialogues, and a batch at least 1.")
    model = open_model(args, state.device if state.num_processes > 1 else None)
    requests = _requests(args, model, dialogues)
    folder = RunFolder(args.out, _about(args, benchmark, model, dialogues)) if args.out else None
    answers = _answers(args, benchmark, model, requests, folder)
    if state.is_main_process:
        _report(args, _results(benchmark, requests, answers, judge, folder), left_out)


def _about(
    args: argparse.Namespace,
    benchmark: "Benchmark",
    model: "VisionLanguageModel",
    dialogues: Sequence["Dialogue"],
) -> dict[str, Any]:
    """What all answers depend on; what those of one setting depend on is in its key."""
    from compressor import fingerprint

    return {
        **fingerprint.of_model(model),
        "data": args.data,
        "split": args.split,
        "seed": args.seed,
        "turns": args.turns,
        "number of dialogues": len(dialogues),
        "dialogues": fingerprint.of_dialogues(dialogues),
        "longest answer in tokens": benchmark.max_new_tokens,
    }


def _judge(args: argparse.Namespace, benchmark: "Benchmark") -> "Judge | None":
    from compressor.evaluation.judge import open_judge
    from compressor.evaluation.scoring import scorer

    if benchmark.scorer == "judge" and args.judge:
        return open_judge(args.judge, args.judge_model)
    if args.judge:
        raise InvalidOptionError(f"The answers of {benchmark.title} are graded by a rule: leave --judge out.")
    scorer(benchmark.scorer)  # says what is missing
    return None


def _requests(
    args: argparse.Namespace, model: "VisionLanguageModel", dialogues: Sequence["Dialogue"]
) -> list["EvaluationRequest"]:
    """Which dialogues are to be answered under which settings; that of all tokens has no rates."""
    from compressor import get_method
    from compressor.evaluation.answering import Setting
    from compressor.evaluation.baselines import gray_dialogues
    from compressor.methods.metacompress import MetaCompress

    settings = []
    for text in args.methods:
        method = build_method(text, model)
        settings += [Setting.of(method, rate, text) for rate in ([0.0] if text == "none" else args.rates)]
    for folder in args.compressor:
        learned = MetaCompress.load(folder, model_name=model.name, d=model.width).to(model.device)
        settings += [Setting.of(learned, rate, _label(folder)) for rate in args.rates]
    settings += [_baseline(name, args, rate) for name in args.references for rate in args.rates]
    requests = [(dialogues, settings)] if settings else []
    if args.gray:
        requests.append((gray_dialogues(dialogues), [Setting.of(get_method("none"), 0.0, "gray image")]))
    if not requests:
        raise InvalidOptionError("There is nothing to evaluate: name a method, or a compressor's folder.")
    return requests


def _label(folder: Path) -> str:
    return f"metacompress: {folder.resolve().name}"


def _baseline(name: str, args: argparse.Namespace, rate: float) -> "Setting":
    from compressor.data.benchmarks import get_benchmark
    from compressor.evaluation import baselines
    from compressor.evaluation.answering import Setting, weights_digest

    if name not in BASELINES:
        raise InvalidOptionError(f"There is no reference {name!r}; choose among {', '.join(BASELINES)}.")
    if name == "oracle" and get_benchmark(args.data).needs_folder:
        raise InvalidOptionError("The oracle knows where objects are in generated scenes only: leave it out.")
    if name == "topk":
        topk = baselines.TopK.load(ASSETS / "compressors" / f"{args.model}-topk" / "topk.pt")
        return Setting("reference: topk", rate, topk.project, weights=weights_digest(topk))
    project = baselines.grid_sample if name == "grid" else baselines.oracle
    return Setting(f"reference: {name}", rate, project)


def _answers(
    args: argparse.Namespace,
    benchmark: "Benchmark",
    model: "VisionLanguageModel",
    requests: Sequence["EvaluationRequest"],
    folder: "RunFolder | None",
) -> dict:
    """All answers, with a bar for this process's share of them."""
    from tqdm import tqdm

    from compressor.evaluation.accuracy import collect
    from compressor.evaluation.run_folder import process_state

    state, answers = process_state(), {}
    share = -(-sum(len(dialogues) * len(settings) for dialogues, settings in requests) // state.num_processes)
    with tqdm(total=share, unit=" answers", disable=not state.is_main_process) as bar:
        for dialogues, settings in requests:
            answers |= collect(
                model,
                dialogues,
                settings,
                folder=folder,
                batch=args.batch,
                max_new_tokens=benchmark.max_new_tokens,
                progress=bar.update,
            )
    return answers


def _results(
    benchmark: "Benchmark",
    requests: Sequence["EvaluationRequest"],
    answers: Mapping,
    judge: "Judge | None",
    folder: "RunFolder | None",
) -> list["Accuracy"]:
    from compressor.evaluation.accuracy import graded, judged
    from compressor.evaluation.judge import grade
    from compressor.evaluation.scoring import scorer

    if judge is None:
        score = scorer(benchmark.scorer)
        return [graded(dialogues, s, answers, score) for dialogues, settings in requests for s in settings]
    results = []
    for dialogues, settings in requests:
        replies = [answers[setting.key, dialogue.id] for setting in settings for dialogue in dialogues]
        grades = grade(judge, dialogues, replies, folder.scores if folder else None)
        results += [judged(dialogues, setting, answers, grades) for setting in settings]
    return results


def _report(args: argparse.Namespace, results: Sequence["Accuracy"], left_out: Sequence[str]) -> None:
    """Print the tables and write the file; `left_out` are the ids of rows without a picture."""
    from compressor.evaluation import tables
    from compressor.evaluation.accuracy import differences

    learned = {_label(folder): _training(folder) for folder in args.compressor}
    about = {"model": args.model, "data": args.data}
    if args.skip_missing:
        about["left_out"] = len(left_out)
    rows = [result.as_data(**about, **learned.get(result.method, {})) for result in results]
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
    for note in _notes(results, left_out):
        print(note)


def _notes(results: Sequence["Accuracy"], left_out: Sequence[str]) -> Iterator[str]:
    """What the tables do not say of the answers: sentences."""
    for result in results:
        setting = f"{result.method} {result.rate:.0%}"
        if result.unscored:
            yield (
                f"{setting}: the judge gave no scores for {result.unscored} of {len(result.scores)} "
                "dialogues, which are left out."
            )
        if result.no_letter is not None:
            yield f"{setting}: {result.no_letter} of {result.scores.size} answers named no letter."
    if left_out:
        yield f"Rows left out because their picture is missing: {len(left_out)} ({', '.join(left_out)})."


def _training(folder: Path) -> dict[str, Any]:
    """What the ablation and the transfer table ask of a compressor, where its config tells it."""
    provenance = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("provenance", {})
    settings = provenance.get("settings")
    if settings is None:
        return {}
    if "clip_by" in settings:  # a config from before the settings were renamed
        entropy, collapse, clip_mode = (settings[name] for name in ("entropy", "collapse", "clip_by"))
    else:
        fields = ("lambda_entropy", "lambda_collapse", "clip_mode")
        entropy, collapse, clip_mode = (settings[field] for field in fields)
    terms = {"entropy": entropy > 0, "collapse": collapse > 0, "clip": clip_mode != "none"}
    return {"trained_on": provenance["data"], "terms": terms}
