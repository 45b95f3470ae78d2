"""Training from the command line: what it writes, how it goes on, and several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import compressor
from compressor import load_model
from compressor.cli import main
from compressor.errors import UnknownModelError
from compressor.methods.metacompress import MetaCompress
from compressor.models.loading import memory
from compressor.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
FEW = ["--dialogues", "16", "--validation", "4", "--turns", "3", "--d-c", "8", "--batch", "4"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return ["--cache", str(tmp_path_factory.mktemp("frozen"))]


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def start(arguments: list[str], *launcher: str) -> subprocess.Popen:
    """The command in a process of its own, which can be killed, or in those of a launcher."""
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
    assert told["settings"]["lambda_entropy"] == 0.01
    assert told["metrics"]["step"] == 6
    assert len(told["commit"]) >= 40
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json", "curves.png", "log.jsonl", "model.safetensors"
    ]  # fmt: skip
    found = lines(out)
    assert found[0]["settings"]["steps"] == 6
    assert (found[0]["dtype"], found[0]["pool"]) == ("float32", "max")
    assert [line["step"] for line in found[1:]] == [1, 2, 3, 4, 5, 6, 6]
    assert main(given) == 2
    assert "finished weights" in capsys.readouterr().err


@pytest.fixture
def one_thread():
    """Sums as in a process of `start`: with another number of threads they differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_and_started_again_it_ends_with_the_same_weights(tmp_path, cache) -> None:
    common = ["--steps", "24", "--save-every", "4", "--rates", "0.95", *FEW, *cache]
    assert main(["train", *common, "--out", str(tmp_path / "whole")]) == 0
    cut = tmp_path / "cut"
    process = start([*common, "--out", str(cut)])
    while not (cut / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (cut / "model.safetensors").exists()
    assert main(["train", *common, "--out", str(cut)]) == 0
    one, other = (load_file(folder / "model.safetensors") for folder in (tmp_path / "whole", cut))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert lines(tmp_path / "whole") == lines(cut)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_make_the_steps_of_one(tmp_path, cache) -> None:
    common = ["--steps", "3", "--lr", "1e-2", "--warmup", "0", *FEW, *cache]
    launcher = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "compressor"]
    assert main(["train", *common, "--out", str(tmp_path / "one")]) == 0
    process = start([*common, "--out", str(tmp_path / "two")], *launcher)
    _, said = process.communicate()
    assert process.returncode == 0, said
    told = json.loads((tmp_path / "two" / "config.json").read_text())["provenance"]
    assert told["processes"] == 2
    for one, two in zip(lines(tmp_path / "one")[1:4], lines(tmp_path / "two")[1:4], strict=True):
        assert two == pytest.approx(one, rel=1e-5, abs=1e-5)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


@pytest.fixture(scope="module")
def cut(tmp_path_factory, cache):
    """The arguments of a run of the command that was killed after its first checkpoint."""
    given = ["train", "--out", str(tmp_path_factory.mktemp("cut")), "--steps", "4", "--save-every", "2"]
    given += ["--rates", "0.95", *FEW, "--dialogues", "4", "--validation", "2", *cache]
    advance = Trainer.advance

    def cut_off(run):
        if run.step == 2:
            raise KeyboardInterrupt
        return advance(run)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "advance", cut_off)
        main(given)
    return given


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--pool", "average"], "pool max, not average;"),
        (["--positions", "none"], "positions sinusoidal, not none;"),
        (["--d-c", "4"], "d_c 8, not 4;"),
        (["--generator", "topk"], "generator metacompress, not topk"),
        (["--dtype", "bfloat16"], "dtype float32, not bfloat16;"),
        (["--crop"], "crop False, not True;"),
        (["--responses", "model"], "responses data, not model;"),
        (["--turns", "2"], "other dialogues, and other validation dialogues;"),
        (["--validation", "3"], "number of validation dialogues 2, not 3"),
        (["--data", "scenes-a"], "data scenes, not scenes-a"),
        (["--lr", "0.5"], "lr 0.001, not 0.5;"),
    ],
)
def test_a_run_goes_on_with_nothing_else(cut, change, said, capsys) -> None:
    assert main([*cut, *change]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{cut[2]} holds a run with " in error
    assert said in error
    assert "give another folder or the same options." in error


def test_a_run_goes_on_with_the_same(cut, tmp_path) -> None:
    out = shutil.copytree(cut[2], tmp_path / "copy")
    assert (out / "checkpoint.pt").exists()
    assert main([*cut, "--dtype", "float32", "--out", str(out)]) == 0
    assert [line["step"] for line in lines(out)[1:]] == [1, 2, 3, 4, 4]


def test_training_needs_no_matplotlib_but_for_its_curves(tmp_path, cache, monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "run"
    assert main(["train", "--out", str(out), "--steps", "1", "--dtype", "bfloat16", *FEW, *cache]) == 0
    assert lines(out)[0]["dtype"] == "bfloat16"
    assert sorted(file.name for file in out.iterdir()) == ["config.json", "log.jsonl", "model.safetensors"]
    assert "No curves are drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("native", "given", "expected"),
    [
        (torch.bfloat16, None, torch.bfloat16),
        (torch.float16, None, torch.float32),
        (torch.float32, None, torch.float32),
        (torch.float32, "bfloat16", torch.bfloat16),
        (torch.bfloat16, "float32", torch.float32),
        (torch.float16, "float16", torch.float16),
    ],
)
def test_the_dtype_is_what_was_asked_or_what_the_device_trains_well_in(
    native, given, expected, tmp_path, cache, monkeypatch
) -> None:
    monkeypatch.setattr(memory, "default_dtype", lambda device: native)
    seen = []

    def load(name, device, dtype, **options):
        seen.append(dtype)
        raise UnknownModelError("far enough")

    monkeypatch.setattr(compressor, "load_model", load)
    asked = ["--dtype", given] if given else []
    assert main(["train", "--out", str(tmp_path), *FEW, *asked, *cache]) == 2
    assert seen == [expected]


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
