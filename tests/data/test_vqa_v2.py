"""VQA v2: questions and annotations are joined, and every fault is named."""

import pytest

from compressor.data.benchmarks import get_benchmark
from compressor.errors import DataError, ImageError

QUESTIONS = "v2_OpenEnded_mscoco_val2014_questions.json"
ANNOTATIONS = "v2_mscoco_val2014_annotations.json"
ANSWERS = ("net", "net", "net", "netting", "net", "net", "mesh", "net", "net", "net")


def question_file(image_of):
    """The published questions file with some questions, from id to image id."""
    return {
        "info": {"description": "made up", "version": "2.0"},
        "task_type": "Open-Ended",
        "data_type": "mscoco",
        "license": {"name": "none"},
        "data_subtype": "val2014",
        "questions": [
            {"image_id": image, "question": f"What is {number}?", "question_id": number}
            for number, image in image_of.items()
        ],
    }


def annotation_file(image_of):
    """The published annotations file for the same questions, in another order."""
    return {
        "info": {"description": "made up", "version": "2.0"},
        "license": {"name": "none"},
        "data_subtype": "val2014",
        "annotations": [
            {
                "question_type": "what is",
                "multiple_choice_answer": "net",
                "answers": [
                    {"answer": answer, "answer_confidence": "yes", "answer_id": index + 1}
                    for index, answer in enumerate(ANSWERS)
                ],
                "image_id": image,
                "answer_type": "other",
                "question_id": number,
            }
            for number, image in reversed(image_of.items())
        ],
        "data_type": "mscoco",
    }


IMAGE_OF = {
    42000: 42,
    42001: 42,
    42002: 42,
    42003: 42,
    393225000: 393225,
    393225001: 393225,
    393225002: 393225,
}


@pytest.fixture
def folder(tmp_path, write_json, picture):
    write_json(tmp_path / QUESTIONS, question_file(IMAGE_OF))
    write_json(tmp_path / ANNOTATIONS, annotation_file(IMAGE_OF))
    for image in ("000000000042", "000000393225"):
        picture(tmp_path / "val2014" / f"COCO_val2014_{image}.jpg")
    return tmp_path


def read(folder, split="validation", **options):
    return get_benchmark("vqa-v2").dialogues(split, folder=folder, **options)


def test_dialogues_of_the_published_layout(folder):
    found = read(folder)
    assert sorted(dialogue.id for dialogue in found) == ["393225-1", "42-1"]
    for dialogue in found:
        image = int(dialogue.id.split("-")[0])
        for turn in dialogue.turns:
            number = int(turn.question.split("?")[0].removeprefix("What is "))
            assert IMAGE_OF[number] == image
            assert turn.question.endswith("?\nAnswer the question using a single word or phrase.")
            assert (turn.answer, turn.answers, turn.kind) == ("net", ANSWERS, "other")
        assert dialogue.image.size == (40, 30)


def test_the_layout_of_the_official_tools(tmp_path, write_json, picture):
    train = {7: 1, 8: 1, 9: 1}
    name = "v2_{}_mscoco_train2014_{}.json"
    write_json(tmp_path / "Questions" / name.format("OpenEnded", "questions"), question_file(train))
    write_json(
        tmp_path / "Annotations" / "v2_mscoco_train2014_annotations.json", annotation_file(train), indent=None
    )
    picture(tmp_path / "Images" / "mscoco" / "train2014" / "COCO_train2014_000000000001.jpg")
    assert [dialogue.id for dialogue in read(tmp_path, "train")] == ["1-1"]


def test_missing_files_are_named(folder):
    with pytest.raises(DataError, match="v2_OpenEnded_mscoco_train2014_questions"):
        read(folder, "train")
    (folder / "val2014" / "COCO_val2014_000000000042.jpg").unlink()
    with pytest.raises(DataError, match=r"COCO_val2014_000000000042\.jpg"):
        read(folder)
    (folder / ANNOTATIONS).unlink()
    with pytest.raises(DataError, match=ANNOTATIONS):
        read(folder)


def test_a_picture_that_goes_or_breaks_later_is_named(folder):
    dialogue = read(folder)[0]
    path = dialogue.load.file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError, match=path.name):
        _ = dialogue.image
    path.write_text("no picture", encoding="utf-8")
    with pytest.raises(ImageError, match=path.name):
        _ = dialogue.image
    path.unlink()
    with pytest.raises(ImageError, match=rf"{path.name} is gone"):
        _ = dialogue.image


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (QUESTIONS, lambda r: r.pop("question_id"), "the field 'question_id' is missing"),
        (QUESTIONS, lambda r: r.update(question_id=42000), "the field 'question_id' repeats 42000"),
        (QUESTIONS, lambda r: r.update(question_id=True), "the field 'question_id' is True, not int"),
        (QUESTIONS, lambda r: r.pop("image_id"), "the field 'image_id' is missing"),
        (QUESTIONS, lambda r: r.pop("question"), "the field 'question' is missing"),
        (ANNOTATIONS, lambda r: r.pop("multiple_choice_answer"), "'multiple_choice_answer' is missing"),
        (ANNOTATIONS, lambda r: r.pop("answer_type"), "the field 'answer_type' is missing"),
        (ANNOTATIONS, lambda r: r.update(answers=[]), "the field 'answers' is not a list of objects"),
        (ANNOTATIONS, lambda r: r["answers"][3].pop("answer"), "the field 'answers' is not a list of"),
    ],
)
def test_a_malformed_record_is_named_with_its_line(folder, write_json, file, change, message):
    data = (question_file if file == QUESTIONS else annotation_file)(IMAGE_OF)
    name = file.removesuffix(".json").split("_")[-1]
    change(data[name][4])
    path = write_json(folder / file, data)
    lines = path.read_text(encoding="utf-8").splitlines()
    line = [i for i, text in enumerate(lines, 1) if text == "{" and i > lines.index(f'"{name}": [')]
    starts = [i for i in line if lines[i].startswith(('"image_id"', '"question"', '"question_type"'))]
    with pytest.raises(DataError, match=message) as caught:
        read(folder, turns=1)
    assert str(caught.value).startswith(f"{path}, {name.removesuffix('s')} 5 of 7, line {starts[4]}: ")


def test_a_question_without_an_annotation(folder, write_json):
    write_json(folder / ANNOTATIONS, annotation_file({n: i for n, i in IMAGE_OF.items() if n != 42002}))
    with pytest.raises(DataError, match=r"annotations\.json has no annotation with the question_id 42002"):
        read(folder, turns=1)


def test_files_of_another_form(folder, write_json):
    write_json(folder / QUESTIONS, {"annotations": []})
    with pytest.raises(DataError, match="the field 'questions', a list of questions, is missing"):
        read(folder)
    write_json(folder / QUESTIONS, {"questions": {}})
    with pytest.raises(DataError, match="the field 'questions' is not a list"):
        read(folder)
