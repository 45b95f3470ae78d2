"""``train``: MetaCompress for a frozen model."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from compressor.cli.arguments import command_line, rates


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    train = commands.add_parser("train", help="train MetaCompress for a model on generated scenes")
    train.add_argument("--model", default="tiny")
    train.add_argument("--out", type=Path, required=True, help="folder for the weights, config and log")
    train.add_argument("--generator", choices=("metacompress", "topk"), default="metacompress")
    train.add_argument("--pool", choices=("max", "average"), default="average")
    train.add_argument("--width", type=int, default=64, help="d_c")
    train.add_argument("--rates", type=rates, default=[0.5, 0.7, 0.8, 0.9, 0.9, 0.95, 0.95])
    train.add_argument("--entropy", type=float, default=0.03, help="lambda_e of equation 10")
    train.add_argument("--collapse", type=float, default=0.1, help="lambda_c of equation 10")
    train.add_argument("--steps", type=int, default=600)
    train.add_argument("--learning-rate", type=float, default=1e-3, help="of AdamW, at its peak")
    train.add_argument("--dialogues", type=int, default=1536)
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
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
    provenance = {
        "command": command_line(args),
        "data": f"generated scenes {first} onwards",
        **asdict(settings),
    }
    generator.save(args.out, provenance)


FIRST_TRAINING_SCENE = 200_000_000  # apart from the scenes that the bundled model was trained on
