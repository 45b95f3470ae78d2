"""Training from the command line: what it writes, how it goes on, and several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from compressor import load_model
from compressor.cli import main
from compressor.methods.metacompress import MetaCompress

ROOT = Path(__file__).resolve().parents[2]
FEW = ["--dialogues", "16", "--validation", "4", "--turns", "3", "--width", "8", "--batch", "4"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ["--cache", str(tmp_path_factory.mktemp("frozen"))]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def start(arguments: list[str], *launcher: str) -> subprocess.Popen:
    command = [sys.executable, "-m", *(launcher or ("compressor",)), "train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_it_writes_weights_that_say_where_they_come_from(tmp_path, cache, capsys) -> None:
    out = tmp_path / "run"
    given = ["train", "--out", str(out), "--steps", "6", "--rates", "0.9", *FEW, *cache]
    assert main(given) == 0
    assert "Estimated peak memory" in capsys.readouterr().err
    loaded = MetaCompress.load(out, model_name="tiny", d=load_model("tiny").width)
    assert loaded.trained
    assert loaded.d_c == 8
    config = json.loads((out / "config.json").read_text())
    told = config["provenance"]
    assert config["model_name"] == "tiny"
    assert told["command"].startswith("python -m compressor train --out")
    assert (told["data"], told["dialogues"], told["rates"]) == ("scenes", 16, [0.9])
    assert told["settings"]["entropy"] == 0.01
    assert told["metrics"]["step"] == 6
    assert len(told["commit"]) >= 40
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json", "curves.png", "log.jsonl", "model.safetensors"
    ]  # fmt: skip
    found = lines(out)
    assert found[0]["settings"]["steps"] == 6
    assert [line["step"] for line in found[1:]] == [1, 2, 3, 4, 5, 6, 6]
    assert main(given) == 2
    assert "finished weights" in capsys.readouterr().err


def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path, cache) -> None:
    common = ["--steps", "24", "--save-every", "4", "--rates", "0.95", *FEW, *cache]
    assert start([*common, "--out", str(tmp_path / "whole")]).wait() == 0
    cut = tmp_path / "cut"
    process = start([*common, "--out", str(cut)])
    while not (cut / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "model.safetensors").exists()
    assert start([*common, "--out", str(cut)]).wait() == 0
    one, other = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", cut))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert lines(tmp_path / "whole") == lines(cut)


def test_two_processes_make_the_steps_of_one(tmp_path, cache) -> None:
    common = ["--steps", "3", "--peak", "1e-2", "--warmup", "0", *FEW, *cache]
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "compressor"]
    assert start([*common, "--out", str(tmp_path / "one")]).wait() == 0
    process = start([*common, "--out", str(tmp_path / "two")], *launcher)
    _, said = process.communicate()
    assert process.returncode == 0, said
    told = json.loads((tmp_path / "two" / "config.json").read_text())["provenance"]
    assert told["processes"] == 2
    for one, two in zip(lines(tmp_path / "one")[1:4], lines(tmp_path / "two")[1:4], strict=True):
        assert two == pytest.approx(one, rel=1e-5, abs=1e-5)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rates", "1.5"], "rate must be at least 0"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--data", "nothing"], "no benchmark 'nothing'"),
        (["--data", "gqa"], "name the folder"),
        (["--data", "convbench", "--folder", "."], "no split 'train'"),
        (["--steps", "0"], "steps must be a whole number of at least 1, not 0"),
        (["--dialogues", "0"], "at least one dialogue"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_sentence(arguments, said, tmp_path, capsys) -> None:
    assert main(["train", "--out", str(tmp_path / "run"), *FEW, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error
