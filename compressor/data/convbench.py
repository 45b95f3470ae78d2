"""ConvBench (Liu et al., 2024): conversations of three levels, perception, reasoning and creation.

Read from the files of its repository (shirlyliu64/ConvBench): ``ConvBench.xlsx``, one conversation per row,
and the pictures in ``visit_bench_images``. Instead of the workbook, ``ConvBench.json`` or ``convbench.json``
may hold the same rows as a list of objects with the columns as fields, as a table tool exports them.

Taken from its evaluation scripts: the columns ``ID``, ``image_id`` (a file name),
``The_first_turn_instruction``, ``first_turn_answer`` (written by a person) and so on for second and third,
and that the turns are perception, reasoning and creation in this order. Its judge also reads
``instruction-conditioned-caption`` and ``third_turn_demands``, which a ``Turn`` does not carry.

Unconfirmed, for the scripts do not tell and we did not have the workbook: that the rows are on its first
sheet, and that, as another reader of it reports, there are 578 of them and the row with ID 131 has no
picture. The benchmark's paper counts 577 conversations, so that row is left out where its picture is missing.

There is no training split. The conversations come in the drawn order of ``grouping``, by ID.
"""

from functools import partial
from itertools import islice
from pathlib import Path

from compressor.data.files import find_file, load_picture
from compressor.data.grouping import drawn_order
from compressor.data.records import Key, Records, json_list
from compressor.data.workbook import first_sheet
from compressor.dialogues import Dialogue, Turn
from compressor.errors import DataError

FILES = ("ConvBench.xlsx", "ConvBench.json", "convbench.json")
IMAGES = ("visit_bench_images", "visit_bench_images/images", "images", "")
LEVELS = {"perception": "first", "reasoning": "second", "creation": "third"}
WITHOUT_PICTURE = "131"  # the ID of the row whose picture was not published


def dialogues(split: str, count: int | None, folder: Path, seed: int, turns: int) -> list[Dialogue]:
    """The conversations, each cut off after ``turns`` levels; see ``Benchmark.dialogues``.

    Raises:
        DataError: there are only three turns, a file or picture is missing, or a record malformed.
    """
    if turns > len(LEVELS):
        raise DataError(f"ConvBench has {len(LEVELS)} turns per conversation, not {turns}.")
    path = find_file(folder, FILES, ("", "data"))
    records = first_sheet(path) if path.suffix == ".xlsx" else json_list(path, "conversation")
    key_of = {str(value): key for value, key in records.by("ID", str, int).items()}
    found = (_dialogue(records, key_of[name], name, folder, turns) for name in drawn_order(key_of, seed))
    return list(islice((dialogue for dialogue in found if dialogue), count))


def _dialogue(records: Records, key: Key, name: str, folder: Path, turns: int) -> Dialogue | None:
    """The conversation of a row; None for the one that was published without its picture."""
    picture_name = _text(records, key, "image_id")
    try:
        picture = find_file(folder, (picture_name,), IMAGES)
    except DataError:
        if name == WITHOUT_PICTURE:
            return None
        raise
    asked = [
        Turn(
            _text(records, key, f"The_{ordinal}_turn_instruction"),
            _text(records, key, f"{ordinal}_turn_answer"),
            level,
        )
        for level, ordinal in islice(LEVELS.items(), turns)
    ]
    return Dialogue(partial(load_picture, picture), tuple(asked), id=name)


def _text(records: Records, key: Key, name: str) -> str:
    """A field as text: a cell such as 4 may be a number."""
    text = str(records.field(key, name, str, int, float)).strip()
    if not text:
        raise records.error(key, f"the field {name!r} is empty")
    return text
