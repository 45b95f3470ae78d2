"""``attention-overlap``: whether the tokens that the learned P keeps are those of high attention."""

import argparse
from dataclasses import asdict
from pathlib import Path

from compressor.cli.arguments import add_model, command_line, open_model, rates, write_json
from compressor.errors import InvalidOptionError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    overlap = commands.add_parser(
        "attention-overlap", help="share of the tokens MetaCompress keeps that attention points at"
    )
    add_model(overlap)
    overlap.add_argument(
        "--rates", type=rates, default="0.5,0.7,0.8,0.9,0.95", help="compression rates, separated by commas"
    )
    overlap.add_argument("--dialogues", type=int, default=200, help="number of generated scenes")
    overlap.add_argument("--json", type=Path, help="JSON file for the results and the command")
    overlap.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Overlap of the tokens that the learned P keeps with those of high attention, and chance."""
    from compressor import get_method
    from compressor.evaluation.overlap import attention_overlap
    from compressor.world import scenes

    if args.dialogues < 2:
        raise InvalidOptionError("A standard error needs at least 2 dialogues.")
    model = open_model(args)
    dialogues = [scenes.dialogue(scenes.HELD_OUT + i) for i in range(args.dialogues)]
    results = attention_overlap(model, get_method("metacompress", model=model), dialogues, args.rates)
    print("| rate | tokens kept | top [CLS] attention, % | top prompt attention, % | by chance, % |")
    print("| --- | --- | --- | --- | --- |")
    for r in results:
        print(
            f"| {r.rate:.0%} | {r.kept:.1f} | {r.cls:.1f} ± {r.cls_error:.1f} "
            f"| {r.prompt:.1f} ± {r.prompt_error:.1f} | {r.chance:.1f} |"
        )
    if args.json:
        data = {
            "command": command_line(args),
            "dialogues": len(dialogues),
            "results": [asdict(r) for r in results],
        }
        write_json(args.json, data)
