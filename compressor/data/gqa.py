"""MT-GQA: the balanced questions of GQA (Hudson and Manning, 2019), those of an image grouped into dialogues.

Read as downloaded from the GQA page (questions and images):

- train: ``train_balanced_questions.json``;
- validation: ``testdev_balanced_questions.json``, or ``val_balanced_questions.json`` where that is missing.
  The paper does not name its split; its uncompressed LLaVA-1.5-7b starts at 61.8 % (Acc_1, Table 4), and
  LLaVA-1.5 reports 62.0 % on testdev, which is why testdev comes first;
- both in the folder itself or in ``questions``, ``questions1.2`` or ``data``;
- images ``<imageId>.jpg`` in ``images``, ``allImages/images``, ``data/images`` or the folder itself.

A file is one object: question id -> {"imageId", "question", "answer", "types": {"structural", ...}, ...}. The
kind of a turn is the structural type (query, verify, choose, compare, logical).
"""

from functools import partial
from pathlib import Path

from compressor.data.files import find_file, load_picture
from compressor.data.grouping import grouped_dialogues
from compressor.data.records import Records, json_object
from compressor.dialogues import Dialogue, Turn

FILES = {
    "train": ("train_balanced_questions.json",),
    "validation": ("testdev_balanced_questions.json", "val_balanced_questions.json"),
}
QUESTIONS = ("", "questions", "questions1.2", "data")
IMAGES = ("images", "allImages/images", "data/images", "")
INSTRUCTION = "\nAnswer the question using a single word or phrase."  # of LLaVA-1.5's evaluation


def dialogues(split: str, count: int | None, folder: Path, seed: int, turns: int) -> list[Dialogue]:
    """The dialogues of a split; see ``Benchmark.dialogues``, the rule is that of ``grouping``.

    Raises:
        DataError: a file or picture is missing, or a record malformed.
    """
    records = json_object(find_file(folder, FILES[split], QUESTIONS), "question")
    return grouped_dialogues(
        {key: records.field(key, "imageId") for key in records.entries},
        partial(_turn, records),
        lambda image: partial(load_picture, find_file(folder, (f"{image}.jpg",), IMAGES)),
        count=count,
        seed=seed,
        turns=turns,
    )


def _turn(records: Records, key: str) -> Turn:
    kind = records.field(key, "types", dict).get("structural")
    if not isinstance(kind, str):
        raise records.error(key, "the field 'types' has no text 'structural'")
    return Turn(records.field(key, "question") + INSTRUCTION, records.field(key, "answer"), kind)
