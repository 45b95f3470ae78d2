"""MT-Video-MME: Video-MME (Fu et al., 2024), the three multiple-choice questions of a video as one dialogue.

Read from the files of its data set on the Hugging Face hub (lmms-lab/Video-MME):

- ``test-00000-of-00001.parquet`` in ``videomme`` or the folder itself: 2,700 rows with the text columns
  ``videoID``, ``question_id``, ``task_type``, ``question``, ``answer`` (a letter), the list ``options``, and
  others;
- or instead ``videomme.json`` or ``video_mme.json``: the same rows as a list of objects;
- videos ``<videoID>.mp4`` (or .MP4, .mkv, .webm) in ``videos``, ``video``, ``data`` or the folder itself.

Columns and file name are those of the data set's card. Unconfirmed, for the card does not show it: that
options carry their letter ("A. Apples."); a letter is taken off where it is there, and put before each option
in the question.

A video is shown as one picture, 8 equidistant frames in a grid (``video``). The paper shows it to
XComposer-2.5 in that model's own way, and does not say which 500 of the 900 videos it took, so its figures
cannot be met to the point. The kind of a turn is the task type. There is no training split.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

from compressor.data.files import find_file
from compressor.data.grouping import grouped_dialogues
from compressor.data.records import Key, Records, json_list
from compressor.data.video import FRAMES, frame_grid
from compressor.dialogues import Dialogue, Turn
from compressor.errors import DataError

FILES = ("test-00000-of-00001.parquet", "videomme.json", "video_mme.json")
VIDEOS = ("videos", "video", "data", "")
SUFFIXES = (".mp4", ".MP4", ".mkv", ".webm")
LETTERS = "ABCDEFGH"
INTRODUCTION = f"The picture shows {FRAMES} frames of a video in reading order.\n"
INSTRUCTION = "\nAnswer with the option's letter from the given choices directly."  # LLaVA-1.5's evaluation


def dialogues(split: str, count: int | None, folder: Path, seed: int, turns: int) -> list[Dialogue]:
    """A dialogue per video; see ``Benchmark.dialogues``, the rule is that of ``grouping``.

    Raises:
        DataError: a file or video is missing, a record malformed, or pyarrow is not installed.
    """
    path = find_file(folder, FILES, ("", "videomme"))
    records = _read_parquet(path) if path.suffix == ".parquet" else json_list(path, "question")
    key_of = records.by("question_id")
    grouped = grouped_dialogues(
        {name: records.field(key, "videoID") for name, key in key_of.items()},
        lambda name: _turn(records, key_of[name]),
        lambda video: partial(frame_grid, find_file(folder, [video + end for end in SUFFIXES], VIDEOS)),
        count=count,
        seed=seed,
        turns=turns,
    )
    return [replace(dialogue, turns=_introduced(dialogue.turns)) for dialogue in grouped]


def _read_parquet(path: Path) -> Records:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            "Parquet files are read by pyarrow, which is missing: pip install -r requirements-research.txt."
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            rows = file.read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); download it again.") from None
    return Records(path, dict(enumerate(rows)), lambda key: f"row {key + 1}")


def _turn(records: Records, key: Key) -> Turn:
    options = records.field(key, "options", list)
    if not 2 <= len(options) <= len(LETTERS) or not all(isinstance(option, str) for option in options):
        raise records.error(key, f"the field 'options' is not a list of 2 to {len(LETTERS)} texts")
    letters = LETTERS[: len(options)]
    answer = records.field(key, "answer")
    if answer not in tuple(letters):
        raise records.error(key, f"the field 'answer' is {answer!r:.80}, not one of the letters {letters}")
    plain = [re.sub(rf"^{letter}\.\s*", "", text) for letter, text in zip(letters, options, strict=True)]
    listed = "".join(f"\n{letter}. {text}" for letter, text in zip(letters, plain, strict=True))
    question = records.field(key, "question") + listed + INSTRUCTION
    return Turn(question, answer, records.field(key, "task_type"), options=tuple(plain))


def _introduced(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns, the first of which says that the picture stands for a video."""
    return (replace(turns[0], question=INTRODUCTION + turns[0].question), *turns[1:])
