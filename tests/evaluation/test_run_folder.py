"""A folder of answers survives a kill at any byte, and is never continued with another run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import ResultsError
from compressor.evaluation.answering import Answers
from compressor.evaluation.run_folder import JsonLines, RunFolder

RUN = {"model": "tiny", "data": "scenes", "dialogues": 4, "seed": 0, "turns": 3}


def answers(number: int) -> Answers:
    return Answers("none 0.0", f"scene-{number}", ["red", "zwölf\n", "\ud800"], 26)


@given(cut=st.integers(0, 400))
def test_lines_that_were_complete_before_a_cut_stay_and_new_ones_follow(tmp_path_factory, cut) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("cut") / "lines.jsonl")
    rows = [{"n": n, "text": "é\r\n" * n} for n in range(8)]
    lines.append(rows[:5])
    lines.append(rows[5:])
    whole = lines.path.read_bytes()
    lines.path.write_bytes(whole[:cut])
    kept = rows[: whole[:cut].count(b"\n")]
    assert lines.read() == kept
    lines.append([{"n": 99}])
    assert lines.read() == [*kept, {"n": 99}]


def test_a_damaged_line_is_named(tmp_path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.path.write_bytes(b'{"n": 1}\n[2]\n')
    with pytest.raises(ResultsError, match=r"Line 2 of .*lines\.jsonl"):
        lines.read()
    assert JsonLines(tmp_path / "none.jsonl").read() == []


def test_answers_of_all_processes_are_read(tmp_path) -> None:
    folder = RunFolder(tmp_path / "a" / "run", RUN)
    assert folder.read() == {}
    folder.append(0, [answers(0), answers(2)])
    folder.append(1, [answers(1)])
    folder.append(0, [answers(4)])
    again = RunFolder(tmp_path / "a" / "run", dict(RUN))
    assert again.read() == {answers(i).key: answers(i) for i in (0, 1, 2, 4)}


@pytest.mark.parametrize("change", [{"model": "other"}, {"turns": 2}, {"seed": 1}])
def test_another_run_is_refused_by_what_differs(tmp_path, change) -> None:
    RunFolder(tmp_path, RUN)
    ((name, value),) = change.items()
    with pytest.raises(ResultsError, match=f"holds a run with {name} {RUN[name]}, not {value}; give another"):
        RunFolder(tmp_path, {**RUN, **change})


def test_a_folder_of_an_older_version_is_refused(tmp_path) -> None:
    RunFolder(tmp_path, RUN)
    with pytest.raises(
        ResultsError, match="older version, which did not write down dtype, model files; give"
    ):
        RunFolder(tmp_path, {**RUN, "dtype": "float32", "model files": "sha256:1"})


def test_folders_that_hold_something_else_are_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResultsError, match="choose another"):
        RunFolder(tmp_path / "file", RUN)
    (tmp_path / "run.json").write_text("no json")
    with pytest.raises(ResultsError, match="choose another"):
        RunFolder(tmp_path, RUN)
    folder = RunFolder(tmp_path / "run", RUN)
    (tmp_path / "run" / "answers-0.jsonl").write_text('{"step": 3}\n')
    with pytest.raises(ResultsError, match="no answers"):
        folder.read()
