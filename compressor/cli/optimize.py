"""``optimize``: Algorithm 2 of the paper, the P of one picture optimised for the answers to its questions."""

import argparse
from pathlib import Path

from compressor.cli.arguments import add_model, add_picture, open_model, open_picture


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    optimize = commands.add_parser(
        "optimize", help="optimise P for one picture and its questions (Algorithm 2)"
    )
    add_picture(optimize)
    add_model(optimize)
    option = optimize.add_argument
    option("--rate", type=float, default=0.9, help="share of the image tokens to remove")
    option("--steps", type=int, default=500, help="updates of plain SGD")
    option("--lr", type=float, default=10.0, help="learning rate")
    option("--alpha", type=float, default=1.0, help="weight of the entropy loss")
    option("--seed", type=int, default=0, help="seed of P before the first update")
    option("--every", type=int, default=50, help="updates from one printed line to the next")
    option("--out", type=Path, metavar="FILE", help=".npz file to write the P with the lowest loss to")
    optimize.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints the losses as they fall, then the answers on the best P beside those on all tokens."""
    from compressor import ChatSession
    from compressor.training import single_image

    settings = single_image.Settings(
        steps=args.steps, learning_rate=args.lr, alpha=args.alpha, seed=args.seed, every=args.every
    )
    model, image = open_model(args), open_picture(args.image)
    tokens = model.encode(image)
    best = None
    print("| step | L_pred | L_entropy | total | seconds |\n| --- | --- | --- | --- | --- |")
    for record in single_image.optimize(model, tokens, args.question, args.rate, settings):
        print(
            f"| {record.step} | {record.prediction:.4f} | {record.entropy:.4f} | {record.total:.4f} "
            f"| {record.seconds:.1f} |",
            flush=True,
        )
        if best is None or record.total < best.total:
            best = record
    print(f"\nLowest loss at step {best.step}: {best.projection.m} of {best.projection.n} image tokens.")
    optimised = ChatSession(model, image, "fixed", args.rate, weights=best.projection.weights)
    uncompressed = ChatSession(model, image, "none", 0.0)
    for question in args.question:
        answers = ["".join(session.ask(question)) for session in (optimised, uncompressed)]
        print(f"> {question}\n  optimised P: {answers[0]}\n  all tokens:  {answers[1]}")
    if args.out:
        best.projection.save(args.out)
