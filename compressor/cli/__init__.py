"""The command line: ``metacompress COMMAND``, or ``python -m compressor COMMAND``; one module per command."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from compressor import __version__
from compressor.cli import ask, evaluate, models, optimize, overlap, profile, tables, train
from compressor.errors import StudioError

COMMANDS = (ask, evaluate, train, optimize, tables, overlap, profile, models)


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default of every option that has one to its help."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default in ("", []):
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """A parser whose help shows the defaults, and that of its subcommands too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=DefaultsFormatter, **options)


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = CommandParser(prog="metacompress", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)  # of the parser's own class
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; an error a user can meet is one sentence on stderr and exit code 2."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments, argparse.Namespace(arguments=arguments))
    try:
        args.run(args)
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
