"""``train``: MetaCompress for a frozen model; ``accelerate launch`` runs it on several processes."""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.cli.arguments import add_dtype, add_options, command_line, options_of, rates
from compressor.errors import InvalidOptionError, TrainingError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compressor.dialogues import Dialogue
    from compressor.models.base import VisionLanguageModel
    from compressor.training.settings import Settings
    from compressor.training.teacher_cache import FrozenSamples
    from compressor.training.trainer import Best, Trainer

# options of the command that replace a setting of the recipe, with their types and what they are
OVERRIDES = {
    "steps": (int, "updates"),
    "batch": (int, "dialogues per update, over all processes"),
    "micro_batch": (int, "dialogues per forward pass"),
    "rates": (rates, "shares of tokens that go; one is drawn per step, e.g. 0.7,0.9"),
    "optimizer": (str, "adamw or sgd"),
    "peak": (float, "learning rate after the warm-up"),
    "warmup": (int, "updates until then"),
    "entropy": (float, "lambda_e of equation 10"),
    "collapse": (float, "lambda_c of equation 10"),
    "clip": (float, "maximum of the gradient"),
    "clip_by": (str, "norm, value or none"),
    "seed": (int, "of weights, order and rates"),
    "validate_every": (int, "updates from one validation to the next"),
    "save_every": (int, "updates from one checkpoint to the next"),
}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    train = commands.add_parser("train", help="train MetaCompress for a frozen model")
    train.add_argument("--model", default="tiny")
    add_dtype(
        train, "of the frozen model; bfloat16 on a GPU that computes in it and float32 elsewhere if not given"
    )
    add_options(train)
    train.add_argument("--data", default="scenes", help="a benchmark, of which the training split is read")
    train.add_argument("--folder", type=Path, help="of the benchmark's files")
    train.add_argument("--dialogues", type=int, help="to learn from (scenes: 3072; others: 20000)")
    train.add_argument("--validation", type=int, default=128, help="further dialogues, to choose the best by")
    train.add_argument("--turns", type=int, help="per dialogue (scenes: 8; others: 3)")
    train.add_argument("--responses", choices=("data", "model"), default="data")
    train.add_argument(
        "--out", type=Path, help="of weights, log and checkpoint; runs/train/MODEL-DATA if not given"
    )
    train.add_argument(
        "--cache", type=Path, default=Path("runs/frozen"), help="of what the frozen model computes"
    )
    train.add_argument("--generator", choices=("metacompress", "topk"), default="metacompress")
    train.add_argument("--pool", choices=("max", "average"), default="max")
    train.add_argument("--positions", choices=("sinusoidal", "none"), default="sinusoidal")
    train.add_argument("--width", type=int, default=64, help="d_c")
    for name, (kind, text) in OVERRIDES.items():
        train.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    train.add_argument("--timing", action="store_true", help="only time 40 steps and say where the time goes")
    train.add_argument("--no-checkpointing", action="store_true", help="keep all activations: faster, larger")
    train.set_defaults(run=run)


def settings_of(args: argparse.Namespace) -> "Settings":
    """The recipe for the model, with what the command line replaces."""
    from compressor.models.catalog import CARDS
    from compressor.training.settings import BUNDLED, PAPER

    card = CARDS.get(args.model)
    recipe = BUNDLED if card and card.recipe else PAPER
    given = {name: getattr(args, name) for name in OVERRIDES if getattr(args, name) is not None}
    if "rates" in given:
        given["rates"] = tuple(given["rates"])
    if args.no_checkpointing:
        given["checkpointing"] = False
    return replace(recipe, **given)


def run(args: argparse.Namespace) -> None:
    """Trains, or goes on where the same run was killed, and writes weights, config, log and curves."""
    import torch
    from accelerate import Accelerator

    from compressor import load_model
    from compressor.training import trainer

    settings = settings_of(args)
    out = args.out or Path("runs/train") / f"{Path(args.model).name}-{args.data}"
    if (out / "model.safetensors").exists() or (out / "topk.pt").exists():
        raise TrainingError(f"{str(out)!r} holds finished weights: remove them, or give another --out.")
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    dtype = _dtype(args, accelerator.device)
    model = load_model(args.model, accelerator.device, dtype, allow_hub=True, **options_of(args))
    training, validation = _dialogues(args)
    samples, checks = (
        _prepare(model, part, args, accelerator, name)
        for part, name in ((training, "training"), (validation, "validation"))
    )
    generator = _generator(model, args, settings, samples[0].image.shape[0])
    if accelerator.is_main_process:
        print(_expected_memory(model, settings, args, samples), file=sys.stderr)
    about = _about(args, samples, checks)
    parts = (model, generator, samples, checks, settings)
    if args.timing:
        with tempfile.TemporaryDirectory() as folder:
            _time(trainer.Trainer(*parts, Path(folder), accelerator, about))
        return
    run = trainer.Trainer(*parts, out, accelerator, about)
    bar = _bar(accelerator, "steps", settings.steps, run.step)
    best = run.fit(bar)
    bar.close()
    if accelerator.is_main_process:
        counts = {"dialogues": len(training), "processes": accelerator.num_processes}
        _finish(out, model, generator, best, settings, args, counts)
    accelerator.wait_for_everyone()


def _time(run: "Trainer") -> None:
    from compressor.training.speed import step_times

    found = step_times(run)
    print(f"{found.steps_per_second:.2f} steps per second")
    for part, share in found.shares.items():
        print(f"{share:6.1%} {part}")


def _dtype(args: argparse.Namespace, device: "torch.device") -> "torch.dtype":
    """What was asked for; else that of the device, but not float16, in which small gradients become zero."""
    import torch

    from compressor.models.loading import memory

    if args.dtype:
        return getattr(torch, args.dtype)
    native = memory.default_dtype(device)
    return torch.float32 if native == torch.float16 else native


def _about(args: argparse.Namespace, samples: "FrozenSamples", checks: "FrozenSamples") -> dict[str, Any]:
    """What a run depends on beside its settings."""
    return {
        **samples.fields,
        "number of validation dialogues": checks.fields["number of dialogues"],
        "validation dialogues": checks.fields["dialogues"],
        "data": args.data,
        "generator": args.generator,
        "pool": args.pool,
        "positions": args.positions,
        "width": args.width,
    }


def _dialogues(args: argparse.Namespace) -> tuple[list["Dialogue"], list["Dialogue"]]:
    from compressor.data.benchmarks import get_benchmark

    bundled = not get_benchmark(args.data).needs_folder
    count = (3072 if bundled else 20_000) if args.dialogues is None else args.dialogues
    turns = (8 if bundled else 3) if args.turns is None else args.turns
    if count < 1 or args.validation < 1:
        raise InvalidOptionError("Training needs at least one dialogue, and one for validation.")
    found = get_benchmark(args.data).dialogues("train", count + args.validation, args.folder, turns=turns)
    if len(found) <= args.validation:
        raise TrainingError(
            f"{args.data} has {len(found)} dialogues for training there, no more than --validation asks for."
        )
    return found[: -args.validation], found[-args.validation :]


def _prepare(
    model: "VisionLanguageModel",
    dialogues: list["Dialogue"],
    args: argparse.Namespace,
    accelerator: Any,
    name: str,
) -> "FrozenSamples":
    from compressor.training import teacher_cache

    share = (accelerator.process_index, accelerator.num_processes)
    with _bar(accelerator, f"frozen model, {name}", len(dialogues)) as bar:
        samples = teacher_cache.prepare(model, dialogues, args.cache, args.responses, *share, bar.update)
    accelerator.wait_for_everyone()
    return samples


def _generator(
    model: "VisionLanguageModel", args: argparse.Namespace, settings: "Settings", n: int
) -> "nn.Module":
    import torch

    from compressor.evaluation.baselines import TopK
    from compressor.methods.metacompress import MetaCompress

    if args.generator == "topk":
        torch.manual_seed(settings.seed)
        return TopK(model.width, n).to(model.device)
    options = {"d_c": args.width, "pool": args.pool, "positions": args.positions, "seed": settings.seed}
    return MetaCompress.create(model, **options)


def _expected_memory(
    model: "VisionLanguageModel", settings: "Settings", args: argparse.Namespace, samples: Any
) -> str:
    """A sentence with the estimated memory, for dialogues as long as the longest of the first hundred."""
    from compressor.training.memory import estimate

    seen = [samples[i] for i in range(min(100, len(samples)))]
    found = estimate(
        model.text_config,
        sum(parameter.nbytes for parameter in model.hf.parameters()),
        settings,
        n=max(len(sample.image) for sample in seen),
        text=max(len(sample.text) for sample in seen),
        responses=max(len(sample.teacher) for sample in seen),
        d_c=args.width,
        itemsize=model.dtype.itemsize,
    )
    return f"Estimated peak memory: {found.total / 1e9:.2f} GB, {found.weights / 1e9:.2f} GB of it the model."


def _bar(accelerator: Any, name: str, total: int, done: int = 0) -> Any:
    from tqdm import tqdm

    return tqdm(
        desc=name, total=total, initial=done, file=sys.stderr, disable=not accelerator.is_local_main_process
    )


def _finish(
    out: Path,
    model: "VisionLanguageModel",
    generator: "nn.Module",
    best: "Best",
    settings: "Settings",
    args: argparse.Namespace,
    counts: dict[str, int],
) -> None:
    import torch

    from compressor.training import trainer

    provenance = {
        "command": command_line(args),
        "revision": model.revision,
        "data": args.data,
        **counts,
        "responses": args.responses,
        "rates": sorted(set(settings.rates)),
        "commit": _commit(),
        "metrics": {"step": best.step, "validation L_pred, nats": best.losses},
        "settings": asdict(settings),
    }
    if args.generator == "topk":
        torch.save(generator.state_dict(), out / "topk.pt")
    else:
        generator.save(out, provenance)
    (out / trainer.CHECKPOINT).unlink()
    _draw_curves(out)
    print(f"L_pred {best.loss:.4f} nats in validation at step {best.step}: {out}", file=sys.stderr)


def _draw_curves(out: Path) -> None:
    from compressor.training import log

    try:
        log.draw_curves(log.read(out / log.LOG), out / "curves.png")
    except ImportError:
        print(
            "No curves are drawn, for matplotlib is missing: pip install -r requirements-research.txt.",
            file=sys.stderr,
        )


def _commit() -> str | None:
    """Of the code, where it is a git checkout."""
    home = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=home,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return found.stdout.strip() or None
