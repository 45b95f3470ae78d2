"""``ask``: questions about one picture on its compressed tokens, one chat for all of them."""

import argparse
from pathlib import Path

from compressor.cli.arguments import add_model, add_picture, build_method, open_model, open_picture


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    ask = commands.add_parser("ask", help="answer questions about a picture on its compressed tokens")
    add_picture(ask)
    add_model(ask)
    ask.add_argument("--method", default="metacompress", help="name of the method, with its options if any")
    ask.add_argument("--rate", type=float, default=0.9, help="share of the image tokens to remove")
    ask.add_argument("--max-new-tokens", type=int, default=64, help="length limit of an answer, in tokens")
    ask.add_argument("--save-projection", type=Path, metavar="FILE", help=".npz file to write P to")
    ask.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints each answer as it is written, and what the turn cost."""
    from compressor import ChatSession

    model = open_model(args)
    session = ChatSession(model, open_picture(args.image), build_method(args.method, model), args.rate)
    for question in args.question:
        print(f"> {question}")
        for piece in session.ask(question, max_new_tokens=args.max_new_tokens):
            print(piece, end="", flush=True)
        stats = session.turns[-1].stats
        print(
            f"\n  [{stats.image_tokens} of {len(session.tokens)} image tokens, "
            f"{stats.prompt_tokens} tokens prefilled, "
            f"{stats.ttft_s * 1000:.0f} ms to the first token, {stats.total_s * 1000:.0f} ms in all]"
        )
    if args.save_projection:
        session.projection.save(args.save_projection)
