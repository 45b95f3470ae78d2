"""The command, killed and started again or shared by processes, gives the table of one undisturbed run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compressor.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ["compressor", "evaluate", "--methods", "none,random", "--rates", "0.9,0.95", "--dialogues", "12"]
COMMAND += ["--batch", "2"]
TWO = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m"]  # by gloo without a GPU


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The results of an uninterrupted run of one process."""
    return results(tmp_path_factory.mktemp("expected") / "results.json", [])


def results(path: Path, options: list[str]) -> dict:
    assert main([*COMMAND[1:], *options, "--json", str(path)]) == 0
    return read(path)


def read(path: Path) -> dict:
    data = json.loads(path.read_text())
    del data["command"]
    return data


def started(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_run_goes_on_where_it_was(expected, tmp_path) -> None:
    out = tmp_path / "run"
    running, answers = started(*COMMAND, "--out", str(out)), out / "answers-0.jsonl"
    until = time.monotonic() + 240
    while not answers.exists() or answers.read_bytes().count(b"\n") < 6:
        assert running.poll() is None, running.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    before = answers.read_bytes()
    assert before.count(b"\n") < 3 * 12
    answers.write_bytes(before + b'{"setting": "none 0.0", "dialog')  # as if cut while it wrote
    assert results(tmp_path / "results.json", ["--out", str(out)]) == expected
    assert answers.read_bytes().startswith(before)
    assert answers.read_bytes().count(b"\n") == 3 * 12


def test_two_processes_share_a_run_and_finish_that_of_one(expected, tmp_path) -> None:
    path, out = tmp_path / "results.json", tmp_path / "run"
    launched = started(*TWO, *COMMAND, "--out", str(out), "--json", str(path))
    _, errors = launched.communicate(timeout=280)
    assert launched.returncode == 0, errors
    assert read(path) == expected
    shares = [(out / f"answers-{process}.jsonl").read_text().splitlines() for process in (0, 1)]
    assert [len(share) for share in shares] == [18, 18]
    (out / "answers-1.jsonl").write_text("\n".join(shares[1][:5]) + "\n")
    assert results(path, ["--out", str(out)]) == expected  # one process does what is left of two
    assert len((out / "answers-0.jsonl").read_text().splitlines()) == 3 * 12 - 5
