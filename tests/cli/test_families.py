"""A checkpoint of any family is trained for, evaluated and profiled by its directory alone."""

import json
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from compressor.cli import main
from compressor.methods.metacompress import MetaCompress

FAMILIES = ("checkpoint", "next_checkpoint", "xcomposer_checkpoint")
FEW = [
    "--dialogues",
    "6",
    "--validation",
    "2",
    "--turns",
    "2",
    "--steps",
    "3",
    "--batch",
    "4",
    "--d-c",
    "8",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained_for_a_checkpoint_is_evaluated_on_it(request, tmp_path, family):
    directory, out = request.getfixturevalue(family), tmp_path / "run"
    assert main(["train", "--model", str(directory), "--out", str(out), *FEW, "--cache", str(tmp_path)]) == 0
    assert MetaCompress.load(out, model_name=directory.name, d=96 if "xcomposer" in family else 48).trained
    file = tmp_path / "accuracy.json"
    asked = ["--methods", "none,sample,visionzip,fastv", "--compressor", str(out), "--dialogues", "3"]
    assert main(["evaluate", "--model", str(directory), *asked, "--json", str(file)]) == 0
    rows = {row["method"]: row for row in json.loads(file.read_text())["results"]}
    assert list(rows) == ["none", "sample", "visionzip", "fastv", "metacompress: run"]
    assert all(row["image_tokens"] < rows["none"]["image_tokens"] / 2 for row in list(rows.values())[1:])


def test_options_of_a_family_reach_every_command(wide_xcomposer_checkpoint, tmp_path, capsys):
    """The scenes have 224 px, so the whole canvas is 2 x 2 tiles of 168 px; with three at most it is one."""
    model, out, file = ["--model", str(wide_xcomposer_checkpoint)], tmp_path / "run", tmp_path / "rows.json"
    asked = ["--methods", "none", "--dialogues", "2", "--json", str(file)]
    counts = []
    for options in ([], ["--hd-num", "3"], ["--hd-num", "3", "--four-bit"]):
        assert main(["evaluate", *model, *asked, *options]) == 0
        counts.append(json.loads(file.read_text())["results"][0]["image_tokens"])
    assert counts == [199, 85, 85]
    asked = ["--methods", "none", "--batch", "1", "--new-tokens", "2", "--repeats", "1", "--json", str(file)]
    assert main(["profile", *model, *asked, "--image-size", "224x224", "--hd-num", "3"]) == 0
    assert json.loads(file.read_text())["results"][0]["image_tokens"] == 85
    arguments = ["train", *model, "--out", str(out), *FEW, "--cache", str(tmp_path), "--hd-num", "3"]
    assert main(arguments) == 0
    assert "--hd-num 3" in json.loads((out / "config.json").read_text())["provenance"]["command"]
    assert main(["train", *model, *FEW, "--crop"]) == 2
    assert "no option 'crop'" in capsys.readouterr().err


def test_answers_to_other_weights_or_pictures_are_another_run(checkpoint, tmp_path, capsys):
    model, folder = shutil.copytree(checkpoint, tmp_path / "model"), tmp_path / "gqa"
    asked = {"question": "is it red ?", "answer": "yes", "types": {"structural": "verify"}}
    folder.mkdir()
    (folder / "testdev_balanced_questions.json").write_text(
        json.dumps({str(number): {**asked, "imageId": f"n{number}"} for number in range(2)})
    )
    for number in range(2):
        Image.new("RGB", (40, 30), (200, number, 0)).save(folder / f"n{number}.jpg")
    arguments = ["evaluate", "--model", str(model), "--data", "gqa", "--folder", str(folder)]
    arguments += ["--methods", "none", "--turns", "1", "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    picture = (folder / "n1.jpg").read_bytes()
    Image.new("RGB", (40, 30), (0, 0, 200)).save(folder / "n1.jpg")
    assert main(arguments) == 2
    assert "holds a run with other dialogues; give another folder" in capsys.readouterr().err
    (folder / "n1.jpg").write_bytes(picture)
    assert main(arguments) == 0
    weights = load_file(model / "model.safetensors")
    next(iter(weights.values())).view(-1)[-1] += 1
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    assert main(arguments) == 2
    assert "holds a run with other model files; give another folder" in capsys.readouterr().err


def test_answers_to_other_tiles_are_another_run(xcomposer_checkpoint, tmp_path, capsys):
    arguments = ["evaluate", "--model", str(xcomposer_checkpoint), "--methods", "none", "--dialogues", "2"]
    arguments += ["--out", str(tmp_path)]
    assert main([*arguments, "--hd-num", "3"]) == 0
    assert main([*arguments, "--hd-num", "4"]) == 2
    assert "with hd_num 3, not 4; give" in capsys.readouterr().err
