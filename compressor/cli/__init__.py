"""The command line: ``metacompress COMMAND``, or ``python -m compressor COMMAND``; one module per command."""

import argparse
import sys
from collections.abc import Sequence

from compressor import __version__
from compressor.cli import ask, evaluate, models, optimize, overlap, profile, tables, train
from compressor.errors import StudioError

COMMANDS = (ask, evaluate, train, optimize, tables, overlap, profile, models)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="metacompress", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


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
