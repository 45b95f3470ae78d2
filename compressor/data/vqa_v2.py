"""MT-VQA-v2: the questions of VQA v2 (Goyal et al., 2017), those of an image grouped into dialogues.

Read as downloaded from visualqa.org and COCO, with train2014 for train and val2014 for validation:

- ``v2_OpenEnded_mscoco_<subset>_questions.json``: {"questions": [{"question_id", "image_id", "question"}]};
- ``v2_mscoco_<subset>_annotations.json``: {"annotations": [{"question_id", "image_id", "question_type",
  "answer_type", "multiple_choice_answer", "answers": [{"answer", "answer_confidence", "answer_id"}]}]};
- both in the folder itself or in ``questions``, ``Questions``, ``annotations``, ``Annotations``;
- images ``COCO_<subset>_<image_id, 12 digits>.jpg`` in ``<subset>``, in ``<subset>`` inside ``images``,
  ``Images``, ``Images/mscoco`` or ``coco``, in ``images``, or in the folder itself.

``answer`` is the multiple-choice answer, the most frequent one; ``answers`` are those of the ten annotators.
The kind of a turn is the answer type (yes/no, number, other).
"""

from functools import partial
from pathlib import Path

from compressor.data.files import find_file, load_picture
from compressor.data.gqa import INSTRUCTION
from compressor.data.grouping import grouped_dialogues
from compressor.data.records import Key, Records, json_list
from compressor.dialogues import Dialogue, Turn
from compressor.errors import DataError

SUBSETS = {"train": "train2014", "validation": "val2014"}
TEXTS = ("", "questions", "Questions", "annotations", "Annotations")


def dialogues(split: str, count: int | None, folder: Path, seed: int, turns: int) -> list[Dialogue]:
    """The dialogues of a split; see ``Benchmark.dialogues``, the rule is that of ``grouping``.

    Raises:
        DataError: a file or picture is missing, or a record malformed.
    """
    subset = SUBSETS[split]
    asked = find_file(folder, (f"v2_OpenEnded_mscoco_{subset}_questions.json",), TEXTS)
    answered = find_file(folder, (f"v2_mscoco_{subset}_annotations.json",), TEXTS)
    questions = json_list(asked, "question", under="questions")
    annotations = json_list(answered, "annotation", under="annotations")
    question_of = {str(number): key for number, key in questions.by("question_id", int).items()}
    annotation_of = {str(number): key for number, key in annotations.by("question_id", int).items()}

    def turn_of(number: str) -> Turn:
        if number not in annotation_of:
            raise DataError(f"{answered} has no annotation with the question_id {number} of {asked}.")
        question = questions.field(question_of[number], "question")
        return _turn(question, annotations, annotation_of[number])

    return grouped_dialogues(
        {number: str(questions.field(key, "image_id", int)) for number, key in question_of.items()},
        turn_of,
        lambda image: partial(load_picture, _picture(folder, subset, image)),
        count=count,
        seed=seed,
        turns=turns,
    )


def _picture(folder: Path, subset: str, image: str) -> Path:
    parents = ("", "images/", "Images/", "Images/mscoco/", "coco/")
    places = [*(parent + subset for parent in parents), "images", ""]
    return find_file(folder, (f"COCO_{subset}_{image.zfill(12)}.jpg",), places)


def _turn(question: str, annotations: Records, key: Key) -> Turn:
    given = annotations.field(key, "answers", list)
    if not given or not all(isinstance(one, dict) and isinstance(one.get("answer"), str) for one in given):
        raise annotations.error(key, "the field 'answers' is not a list of objects with a text 'answer'")
    return Turn(
        question + INSTRUCTION,
        annotations.field(key, "multiple_choice_answer"),
        annotations.field(key, "answer_type"),
        tuple(one["answer"] for one in given),
    )
