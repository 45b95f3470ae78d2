"""``models``: the catalog."""

import argparse


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    models = commands.add_parser("models", help="list the models")
    models.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """One line per model of the catalog."""
    from compressor import list_models

    for card in list_models():
        print(f"{card.name:20} {card.title}")
