"""The command line prints tables, writes them with their command, and says errors in a sentence."""

import json
from pathlib import Path

import pytest

from compressor import list_models
from compressor.cli import main
from compressor.methods.metacompress import MetaCompress

FILES = Path(__file__).parent / "fixtures" / "files"


def test_evaluate_prints_and_writes_the_same_numbers(tmp_path, capsys) -> None:
    out = tmp_path / "results.json"
    arguments = ["evaluate", "--methods", "none,sample,metacompress", "--rates", "0.9", "--dialogues", "6"]
    assert main([*arguments, "--references", "grid,oracle", "--gray", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    data = json.loads(out.read_text())
    assert data["dialogues"] == 6
    rows = {row["method"]: row for row in data["results"]}
    expected = {"none", "sample", "metacompress", "reference: grid", "reference: oracle", "gray image"}
    assert set(rows) == expected
    assert rows["none"]["image_tokens"] == 256
    assert rows["sample"]["image_tokens"] == 26
    for name, row in rows.items():
        cells = [name, f"{row['rate']:.0%}", f"{row['image_tokens']:.0f}"]
        assert "| " + " | ".join(cells) + " | " in printed
    assert data["paired"][0]["difference"] == "metacompress - sample"


def test_answers_to_a_choice_that_name_no_letter_are_counted(tmp_path, capsys) -> None:
    video = FILES / "plain.mp4"
    rows = [
        {
            "videoID": name,
            "question_id": f"{name}-{number}",
            "task_type": "counting",
            "question": "how many cats are there?",
            "options": ["A. one", "B. two", "C. three", "D. many cats"],
            "answer": "A",
        }
        for name in ("first", "second")
        for number in range(3)
    ]
    (tmp_path / "videomme.json").write_text(json.dumps(rows))
    for name in ("first", "second"):
        (tmp_path / f"{name}.mp4").write_bytes(video.read_bytes())
    out = tmp_path / "results.json"
    arguments = ["evaluate", "--data", "video-mme", "--folder", str(tmp_path), "--methods", "none"]
    assert main([*arguments, "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "none 0%: 6 of 6 answers named no letter." in printed
    assert "| no letter |" in printed
    assert json.loads(out.read_text())["results"][0]["no_letter"] == 6


def test_methods_take_options(tmp_path) -> None:
    out = tmp_path / "results.json"
    asked = "visionzip:class_token=False,visionzip:per_view=8,fastv:layer=1,sample:separators=reinsert"
    assert main(["evaluate", "--methods", asked, "--dialogues", "3", "--json", str(out)]) == 0
    rows = {row["method"]: row for row in json.loads(out.read_text())["results"]}
    assert list(rows) == asked.split(",")
    assert [row["image_tokens"] for row in rows.values()] == [26, 8, 26, 26]


def test_further_compressors_are_rows_named_by_their_folders(tmp_path, capsys) -> None:
    folders = []
    before = {"entropy": 0.0, "collapse": 1.0, "clip_by": "none"}  # names of the settings in older configs
    now = {"lambda_entropy": 1.0, "lambda_collapse": 0.0, "clip_mode": "norm"}
    for seed, settings in enumerate((before, now)):
        folders.append(tmp_path / f"seed-{seed}")
        made = MetaCompress(192, 8, model_name="tiny", seed=seed)
        made.save(folders[-1], {"data": "scenes-a", "settings": settings})
    arguments = ["evaluate", "--methods", "sample", "--dialogues", "3", "--json", str(tmp_path / "out.json")]
    for folder in folders:
        arguments += ["--compressor", str(folder)]
    assert main(arguments) == 0
    assert "metacompress: seed-1 - sample" in capsys.readouterr().out
    data = json.loads((tmp_path / "out.json").read_text())
    names = [row["method"] for row in data["results"]]
    assert names == ["sample", "metacompress: seed-0", "metacompress: seed-1"]
    assert data["results"][1]["trained_on"] == "scenes-a"
    assert data["results"][1]["terms"] == {"entropy": False, "collapse": True, "clip": False}
    assert data["results"][2]["terms"] == {"entropy": True, "collapse": False, "clip": True}
    assert "trained_on" not in data["results"][0]
    assert len(data["paired"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rates", "1.5"], "rate must be at least 0"),
        (["--methods", "magic"], "no method 'magic'"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--device-map", "everywhere"], "Unknown device map 'everywhere'"),
        (["--hd-num", "4"], "has no option 'hd_num'"),
        (["--references", "crystal"], "no reference 'crystal'"),
        (["--data", "nowhere"], "no benchmark 'nowhere'"),
        (["--data", "gqa"], "name the folder"),
        (["--data", "convbench"], "--judge"),
        (["--judge", "http://127.0.0.1:9/v1"], "leave --judge out"),
        (["--batch", "0"], "batch at least 1"),
        (["--dialogues", "1"], "at least 2 dialogues"),
        (["--methods", "sample,sample"], "name each once"),
        (["--compressor", "/nowhere/at/all"], "The compressor weights in 'all' cannot be read"),
        (["--methods", "visionzip:per_view"], "written name=value, not 'per_view'"),
        (
            ["--methods", "visionzip:per_view=0"],
            "per_view of VisionZip must be a whole number of at least 1, not 0",
        ),
        (["--methods", "sample:tiles=2"], "Sample has no option 'tiles'; it has none"),
        (["--methods", ""], "nothing to evaluate"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(arguments, said, capsys) -> None:
    assert main(["evaluate", "--methods", "sample", "--dialogues", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_folder_is_not_continued_with_another_run(tmp_path, capsys) -> None:
    arguments = ["evaluate", "--methods", "sample", "--out", str(tmp_path)]
    assert main([*arguments, "--dialogues", "2"]) == 0
    changes = {
        ("--dialogues", "3"): "number of dialogues 2, not 3",
        ("--dtype", "float16"): "dtype float32, not float16",
        ("--crop",): "crop False, not True",
        ("--data", "scenes-a"): "data scenes, not scenes-a",
    }
    for change, said in changes.items():
        assert main([*arguments, "--dialogues", "2", *change]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"holds a run with {said}" in error
        assert error.endswith("; give another folder or the same options.")
    assert main([*arguments, "--dialogues", "2", "--dtype", "float32"]) == 0  # what it was without saying so


def test_models_lists_the_catalog(capsys) -> None:
    assert main(["models"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(f"{card.name}: {card.title} {card.description}" in out for card in list_models())
    assert "Fits: Its files are here." in out and "llava-1.5-7b-hf, revision unpinned;" in out
