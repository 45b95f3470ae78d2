"""``profile``: time, memory, cache and operations of every method beside all tokens."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compressor.cli.arguments import (
    add_model,
    build_method,
    command_line,
    names,
    open_model,
    options_of,
    write_json,
)
from compressor.errors import InvalidOptionError, ModelUnavailableError

BASE = "none"
CPU_GB = 2.0  # of weights with 16 bits each: beyond, a processor needs minutes for one answer of a batch


def _numbers(text: str) -> list[int]:
    return [int(number) for number in names(text)]


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.lower().split("x"))
    return width, height


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    profile = commands.add_parser("profile", help="time, memory and operations of every method")
    add_model(profile)
    profile.add_argument(
        "--random-weights",
        action="store_true",
        help="random weights of the model's full size, without its checkpoint",
    )
    profile.add_argument(
        "--methods", type=names, default="all", help="names of methods, with options as in evaluate, or all"
    )
    profile.add_argument("--rate", type=float, default=0.9, help="share of the image tokens to remove")
    profile.add_argument("--batch", type=_numbers, default="1,16", help="batch sizes, separated by commas")
    profile.add_argument("--prompt-tokens", type=int, default=32, help="text tokens per prompt")
    profile.add_argument("--new-tokens", type=int, default=10, help="tokens per answer")
    profile.add_argument("--image-size", type=_size, default="640x480", help="size of the images in px, WxH")
    profile.add_argument("--repeats", type=int, default=5, help="timed runs; the median is reported")
    profile.add_argument(
        "--device", help="device, such as cuda or cpu; a GPU if there is one and nothing is given"
    )
    profile.add_argument("--json", type=Path, help="JSON file for the results and the command")
    profile.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Prints a table for each batch, base first, and writes the rows as JSON where asked."""
    import torch

    from compressor import list_methods
    from compressor.evaluation.efficiency import measure
    from compressor.evaluation.workload import Workload
    from compressor.models.random_weights import random_model

    if args.repeats < 1:
        raise InvalidOptionError("A median needs at least one repeat.")
    if args.random_weights and (args.four_bit or args.device_map):
        raise InvalidOptionError("Random weights are on one device and not in 4-bit: leave the option out.")
    _require_speed(args)
    if args.random_weights:
        dtype = getattr(torch, args.dtype) if args.dtype else None
        model = random_model(args.model, args.device, dtype).variant(**options_of(args))
    else:
        model = open_model(args, args.device)
    known = [info.name for info in list_methods()]
    texts = known if args.methods == ["all"] else args.methods
    methods = {text: build_method(text, model) for text in dict.fromkeys([BASE, *texts])}
    rows = []
    for batch in args.batch:
        workload = Workload(batch, args.prompt_tokens, args.new_tokens, args.image_size)
        measured = [cost.as_data() for cost in measure(model, methods, args.rate, workload, args.repeats)]
        rows += [{**row, "random_weights": args.random_weights} for row in measured]
        print(_table(measured), flush=True)
    print("* of all tokens, as a multiple of the method's, measured in the same run", file=sys.stderr)
    if args.json:
        write_json(
            args.json, {"command": command_line(args), "threads": torch.get_num_threads(), "results": rows}
        )


def _require_speed(args: argparse.Namespace) -> None:
    """Refuse a large model where only a CPU is left to choose: it would take the memory, then hours.

    Raises:
        ModelUnavailableError: it is too large, and no device was named.
    """
    from compressor.models.catalog import CARDS
    from compressor.models.loading import memory
    from compressor.models.loading.files import stored_bytes

    card = CARDS.get(args.model)
    gigabytes = card.memory_gb if card else stored_bytes(Path(args.model)) / 1e9
    if args.device is None and memory.choose_device(None).type == "cpu" and gigabytes > CPU_GB:
        raise ModelUnavailableError(
            f"There is no GPU here, and {args.model} has {gigabytes:.1f} GB of weights, with which a CPU "
            "computes for hours: use a machine with a GPU, or give --device cpu to do it all the same."
        )


def _table(rows: Sequence[dict]) -> str:
    """Markdown: what is measured, one line per method, the ratio of times to the first token last."""
    base = rows[0]
    head = ["method", "rate", "tokens", "TTFT ms", "vision", "compress", "prefill", "decode/token"]
    head += ["total ms", "peak GB", "cache MB", "TFLOPs", "TTFT ratio*"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        times = [row[f"{stage}_ms"] for stage in ("ttft", "vision", "compress", "prefill", "decode", "total")]
        lines.append(
            [
                *(row["method"], f"{row['rate']:.0%}", f"{row['image_tokens']:.0f}"),
                *("" if value is None else f"{value:.1f}" for value in times),
                *(f"{row['peak_memory_gb']:.3g}", f"{row['cache_mb']:.4g}", f"{row['tflops']:.4g}"),
                f"{base['ttft_ms'] / row['ttft_ms']:.2f}",
            ]
        )
    title = f"{base['model']}, {base['device']}, {base['dtype']}, batch {base['batch']}\n\n"
    return title + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
