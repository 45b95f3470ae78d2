"""GQA: the published layout gives dialogues, and every fault is named."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.benchmarks import get_benchmark
from compressor.errors import DataError

INSTRUCTION = "\nAnswer the question using a single word or phrase."


def question(image, text, answer="yes", kind="verify"):
    """A question with all the fields of the published file."""
    return {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "pond (1039893)"}],
        "entailed": [],
        "equivalent": ["00126851"],
        "question": text,
        "imageId": image,
        "isBalanced": True,
        "groups": {"global": None, "local": "13-pond_cart"},
        "answer": answer,
        "semanticStr": "select: pond (1039893)",
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
        "types": {"detailed": "existRelS", "semantic": "rel", "structural": kind},
        "fullAnswer": "Yes.",
    }


def questions(**amounts):
    """So many questions about each image, by id."""
    return {
        f"{image}{number:03}": question(image, f"Question {number} about {image}?")
        for image, amount in amounts.items()
        for number in range(amount)
    }


@pytest.fixture
def folder(tmp_path, write_json, picture):
    """A folder of seven questions about one image, three about another and two about a third."""
    write_json(tmp_path / "testdev_balanced_questions.json", questions(n161313=7, n20=3, n3=2))
    write_json(tmp_path / "train_balanced_questions.json", questions(n7=3))
    picture(tmp_path / "images" / "n161313.jpg", (10, 200, 10))
    picture(tmp_path / "images" / "n20.jpg")
    picture(tmp_path / "images" / "n3.jpg")
    picture(tmp_path / "images" / "n7.jpg")
    return tmp_path


def read(folder, split="validation", **options):
    return get_benchmark("gqa").dialogues(split, folder=folder, **options)


def test_dialogues_of_the_published_layout(folder):
    found = read(folder)
    assert sorted(dialogue.id for dialogue in found) == ["n161313-1", "n161313-2", "n20-1"]
    for dialogue in found:
        image = dialogue.id.split("-")[0]
        assert len(dialogue.turns) == 3
        for turn in dialogue.turns:
            assert turn.question.endswith(f"about {image}?{INSTRUCTION}")
            assert (turn.answer, turn.kind, turn.answers, turn.options) == ("yes", "verify", (), ())
        assert dialogue.image.mode == "RGB"
        green = dialogue.image.getpixel((5, 5))[1]
        assert (green > 150) == (image == "n161313")
    assert [dialogue.id for dialogue in read(folder, "train")] == ["n7-1"]


def test_count_and_turns(folder):
    assert [d.id for d in read(folder, count=2)] == [d.id for d in read(folder)][:2]
    assert len(read(folder, turns=2, count=1)[0].turns) == 2
    with pytest.raises(DataError, match="no dialogue of 8 turns"):
        read(folder, turns=8)


def test_dialogues_can_be_sent_to_another_process(folder):
    dialogue = read(folder)[0]
    copy = pickle.loads(pickle.dumps(dialogue))
    assert copy.turns == dialogue.turns
    assert copy.image.tobytes() == dialogue.image.tobytes()


@given(st.randoms(use_true_random=False), st.integers(0, 9))
def test_the_order_of_the_file_does_not_matter(tmp_path_factory, write_json, picture, random, seed):
    folder = tmp_path_factory.mktemp("gqa")
    data = questions(a=5, b=4, c=9)
    for image in "abc":
        picture(folder / f"{image}.jpg")
    path = folder / "testdev_balanced_questions.json"
    write_json(path, data)
    expected = [(dialogue.id, dialogue.turns) for dialogue in read(folder, seed=seed)]
    shuffled = list(data.items())
    random.shuffle(shuffled)
    write_json(path, dict(shuffled))
    assert [(dialogue.id, dialogue.turns) for dialogue in read(folder, seed=seed)] == expected


@pytest.mark.parametrize("subfolder", ["questions", "questions1.2", "data"])
def test_usual_layouts(tmp_path, write_json, picture, subfolder):
    write_json(tmp_path / subfolder / "val_balanced_questions.json", questions(a=3))
    picture(tmp_path / "allImages" / "images" / "a.jpg")
    assert [dialogue.id for dialogue in read(tmp_path)] == ["a-1"]


def test_testdev_goes_before_val(folder, write_json):
    write_json(folder / "val_balanced_questions.json", questions(other=3))
    assert len(read(folder)) == 3


def test_missing_files_are_named(folder):
    (folder / "images" / "n20.jpg").unlink()
    assert len(read(folder, count=1)) == 1  # n161313 comes first: what is not asked for is not looked for
    with pytest.raises(DataError, match=r"no file n20\.jpg.*images"):
        read(folder)
    (folder / "testdev_balanced_questions.json").unlink()
    with pytest.raises(DataError, match=r"testdev_balanced_questions\.json or val_balanced_questions\.json"):
        read(folder)


def test_a_syntax_error_is_named_with_its_line(folder):
    path = folder / "testdev_balanced_questions.json"
    path.write_text('{\n"1": {\n"imageId": "a",\n"question": \n}}', encoding="utf-8")
    with pytest.raises(DataError, match=r"testdev_balanced_questions\.json, line 5: this is not JSON"):
        read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("imageId"), "the field 'imageId' is missing"),
        (lambda record: record.pop("question"), "the field 'question' is missing"),
        (lambda record: record.update(answer=3), "the field 'answer' is 3, not str"),
        (lambda record: record.update(imageId=None), "the field 'imageId' is None, not str"),
        (lambda record: record.pop("types"), "the field 'types' is missing"),
        (lambda record: record.update(types={}), "the field 'types' has no text 'structural'"),
    ],
)
def test_a_malformed_record_is_named_with_its_line(folder, write_json, change, message):
    data = questions(n161313=3)
    change(data["n161313001"])
    path = write_json(folder / "testdev_balanced_questions.json", data)
    line = path.read_text(encoding="utf-8").splitlines().index('"n161313001": {') + 1
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{path}, question 'n161313001', line {line}: {message};")


@pytest.mark.parametrize("later", ["first", "last"])
def test_an_id_that_occurs_twice_is_refused_and_named_with_its_line(folder, write_json, later):
    """JSON keeps the last of two fields of one name, without a word."""
    path = write_json(folder / "testdev_balanced_questions.json", questions(n161313=3))
    text = path.read_text(encoding="utf-8")
    one, two = '"n161313000": {', '"n161313002": {'
    path.write_text(text.replace(two, one) if later == "last" else text.replace(one, two), encoding="utf-8")
    name = "n161313000" if later == "last" else "n161313002"
    with pytest.raises(DataError) as caught:
        read(folder)
    assert str(caught.value).startswith(f"{path}, question '{name}', line 2: the id occurs twice;")


def test_a_name_that_occurs_twice_inside_a_record_is_none_of_ours(folder, write_json):
    path = write_json(folder / "testdev_balanced_questions.json", questions(n161313=3))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"isBalanced": true', '"isBalanced": true, "isBalanced": true'), "utf-8")
    assert len(read(folder)) == 1


def test_files_of_another_form(folder, write_json):
    path = folder / "testdev_balanced_questions.json"
    write_json(path, [question("a", "?")])
    with pytest.raises(DataError, match="not a JSON object of questions by their ids"):
        read(folder)
    write_json(path, {"1": "a"})
    with pytest.raises(DataError, match="the record is not an object"):
        read(folder)
    path.write_bytes(b'{"1": "\xff"}')
    with pytest.raises(DataError, match="not UTF-8"):
        read(folder)
