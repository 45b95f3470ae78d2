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
    from compressor.training.settings import TrainingSettings
    from compressor.training.teacher_cache import TeacherCache
    from compressor.training.trainer import Best, Trainer

# options of the command that replace a setting of the recipe, with their types and what they are
OVERRIDES = {
    "steps": (int, "number of updates"),
    "batch": (int, "dialogues per update, over all processes"),
    "micro_batch": (int, "dialogues per forward pass"),
    "rates": (rates, "compression rates, one drawn per step, e.g. 0.7,0.9"),
    "optimizer": (str, "optimizer: adamw or sgd"),
    "lr": (float, "learning rate after the warm-up"),
    "warmup": (int, "updates of the linear warm-up"),
    "lambda_entropy": (float, "weight of the entropy loss, lambda_e of equation 10"),
    "lambda_collapse": (float, "weight of the collapse loss, lambda_c of equation 10"),
    "max_grad": (float, "maximum of the gradient"),
    "clip_mode": (str, "what of the gradient is bounded: norm, value or none"),
    "seed": (int, "seed of weights, order and rates"),
    "validate_every": (int, "updates from one validation to the next"),
    "save_every": (int, "updates from one checkpoint to the next"),
}


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    train = commands.add_parser("train", help="train MetaCompress for a frozen model")
    option = train.add_argument
    option(
        "--model", default="tiny", help="name in the catalog, directory of a checkpoint, or Hub repository"
    )
    add_dtype(
        train,
        "dtype of the frozen model; bfloat16 on a GPU that computes in it, else float32, if not given",
    )
    add_options(train)
    option("--data", default="scenes", help="benchmark whose training split is read")
    option("--folder", type=Path, help="folder with the files of the benchmark")
    option("--dialogues", type=int, help="training dialogues (scenes: 3072; others: 20000)")
    option("--validation", type=int, default=128, help="further dialogues, by which the best state is chosen")
    option("--turns", type=int, help="turns per dialogue (scenes: 8; others: 3)")
    option(
        "--responses",
        choices=("data", "model"),
        default="data",
        help="responses of L_pred: the data's answers, or the uncompressed model's own",
    )
    option(
        "--out", type=Path, help="folder for weights, log and checkpoint; runs/train/MODEL-DATA if not given"
    )
    option(
        "--cache", type=Path, default=Path("runs/frozen"), help="folder for the outputs of the frozen model"
    )
    option(
        "--generator",
        choices=("metacompress", "topk"),
        default="metacompress",
        help="module to train: MetaCompress, or a top-k selection for comparison",
    )
    option("--pool", choices=("max", "average"), default="max", help="pooling of the windows of X")
    option(
        "--positions",
        choices=("sinusoidal", "none"),
        default="sinusoidal",
        help="position embedding of the pooled tokens",
    )
    option("--d-c", type=int, default=64, help="width d_c of the compression attention")
    for name, (kind, text) in OVERRIDES.items():
        option(f"--{name.replace('_', '-')}", type=kind, help=f"{text}; the recipe's if not given")
    option("--benchmark", action="store_true", help="timing of 40 steps and of their parts, without training")
    option("--no-checkpointing", action="store_true", help="storage of all activations: faster, more memory")
    train.set_defaults(run=run)


def settings_of(args: argparse.Namespace) -> "TrainingSettings":
    """The recipe for the model, with what the command line replaces."""
    from compressor.models.catalog import CARDS
    from compressor.training.settings import BUNDLED, PAPER

    card = CARDS.get(args.model)
    recipe = BUNDLED if card and card.recipe else PAPER
    overrides = {name: getattr(args, name) for name in OVERRIDES if getattr(args, name) is not None}
    if "rates" in overrides:
        overrides["rates"] = tuple(overrides["rates"])
    if args.no_checkpointing:
        overrides["checkpointing"] = False
    return replace(recipe, **overrides)


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
    if args.benchmark:
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

    times = step_times(run)
    print(f"{times.steps_per_second:.2f} steps per second")
    for part, share in times.shares.items():
        print(f"{share:6.1%} {part}")


def _dtype(args: argparse.Namespace, device: "torch.device") -> "torch.dtype":
    """What was asked for; else that of the device, but not float16, in which small gradients become zero."""
    import torch

    from compressor.models.loading import memory

    if args.dtype:
        return getattr(torch, args.dtype)
    native = memory.default_dtype(device)
    return torch.float32 if native == torch.float16 else native


def _about(args: argparse.Namespace, samples: "TeacherCache", checks: "TeacherCache") -> dict[str, Any]:
    """What a run depends on beside its settings."""
    return {
        **samples.fields,
        "number of validation dialogues": checks.fields["number of dialogues"],
        "validation dialogues": checks.fields["dialogues"],
        "data": args.data,
        "generator": args.generator,
        "pool": args.pool,
        "positions": args.positions,
        "d_c": args.d_c,
    }


def _dialogues(args: argparse.Namespace) -> tuple[list["Dialogue"], list["Dialogue"]]:
    from compressor.data.benchmarks import get_benchmark

    bundled = not get_benchmark(args.data).needs_folder
    count = (3072 if bundled else 20_000) if args.dialogues is None else args.dialogues
    turns = (8 if bundled else 3) if args.turns is None else args.turns
    if count < 1 or args.validation < 1:
        raise InvalidOptionError("Training needs at least one dialogue, and one for validation.")
    dialogues = get_benchmark(args.data).dialogues("train", count + args.validation, args.folder, turns=turns)
    if len(dialogues) <= args.validation:
        raise TrainingError(
            f"The training split of {args.data} has {len(dialogues)} dialogues there, "
            f"and --validation takes {args.validation}; give a smaller number."
        )
    return dialogues[: -args.validation], dialogues[-args.validation :]


def _prepare(
    model: "VisionLanguageModel",
    dialogues: list["Dialogue"],
    args: argparse.Namespace,
    accelerator: Any,
    name: str,
) -> "TeacherCache":
    from compressor.training import teacher_cache

    share = (accelerator.process_index, accelerator.num_processes)
    with _bar(accelerator, f"frozen model, {name}", len(dialogues)) as bar:
        samples = teacher_cache.build_teacher_cache(
            model, dialogues, args.cache, args.responses, *share, bar.update
        )
    accelerator.wait_for_everyone()
    return samples


def _generator(
    model: "VisionLanguageModel", args: argparse.Namespace, settings: "TrainingSettings", n: int
) -> "nn.Module":
    import torch

    from compressor.evaluation.baselines import TopK
    from compressor.methods.metacompress import MetaCompress

    if args.generator == "topk":
        torch.manual_seed(settings.seed)
        return TopK(model.width, n).to(model.device)
    options = {"d_c": args.d_c, "pool": args.pool, "positions": args.positions, "seed": settings.seed}
    return MetaCompress.create(model, **options)


def _expected_memory(
    model: "VisionLanguageModel", settings: "TrainingSettings", args: argparse.Namespace, samples: Any
) -> str:
    """A sentence with the estimated memory, for dialogues as long as the longest of the first hundred."""
    from compressor.training.memory import estimate

    examples = [samples[i] for i in range(min(100, len(samples)))]
    memory = estimate(
        model.text_config,
        sum(parameter.nbytes for parameter in model.hf.parameters()),
        settings,
        n=max(len(example.image) for example in examples),
        text=max(len(example.text) for example in examples),
        responses=max(len(example.teacher) for example in examples),
        d_c=args.d_c,
        itemsize=model.dtype.itemsize,
    )
    return (
        f"Estimated peak memory: {memory.total / 1e9:.2f} GB, {memory.weights / 1e9:.2f} GB of it the model."
    )


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
    settings: "TrainingSettings",
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
        output = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=home,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return output.stdout.strip() or None
