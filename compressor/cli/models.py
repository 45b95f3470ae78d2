"""``models``: the catalog, and what of it this machine can hold."""

import argparse
import textwrap


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the parser."""
    models = commands.add_parser("models", help="list the models, and which of them fit this machine")
    models.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """A paragraph per model of the catalog: its card, and whether it fits."""
    from compressor import check_memory, list_models
    from compressor.models.loading import memory

    device = memory.choose_device(None)
    free, total = memory.memory(device)
    dtype = str(memory.default_dtype(device)).removeprefix("torch.")
    print(f"This machine: {device.type}, {total / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB free; {dtype}.")
    for card in list_models():
        check = check_memory(card)
        four_bit = f", about {card.four_bit_gb:.1f} GB in 4-bit" if card.four_bit_gb else ""
        pinned = f", revision {card.revision or 'unpinned'}"
        print(f"\n{card.name}: {card.title}")
        for text in (
            card.description,
            f"{card.repository + pinned if card.repository else 'Bundled'}; licence {card.licence}.",
            f"Up to {card.image_tokens} image tokens; estimated memory: "
            f"about {card.memory_gb:g} GB in {card.precision}{four_bit}.",
            f"{'Fits' if check.fits else 'Does not fit'}: {check.sentence}",
        ):
            print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "))
