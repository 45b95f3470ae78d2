"""``tables`` prints results files and the paper's numbers, and says in a sentence what it cannot read."""

import json
import re

import pytest

from compressor.cli import main

ROW = {
    "model": "llava-1.5-7b",
    "data": "gqa",
    "method": "none",
    "rate": 0.0,
    "acc": [60.0, 62.0, 64.0],
    "avg": 62.0,
}


@pytest.fixture
def write(tmp_path):
    def written(name: str, rows: object) -> str:
        path = tmp_path / name
        path.write_text(json.dumps({"command": "a command", "results": rows}))
        return str(path)

    return written


def test_files_are_merged_and_a_result_in_both_stands_once(write, capsys) -> None:
    first = write("first.json", [ROW])
    second = write("second.json", [ROW, {**ROW, "method": "sample", "rate": 0.9}])
    assert main(["tables", first, second]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| model | data | method | rate | Acc1 | Acc2 | Acc3 | Avg |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| llava-1.5-7b | gqa | none | 0% | 60.0 | 62.0 | 64.0 | 62.0 |",
        "| llava-1.5-7b | gqa | sample | 90% | 60.0 | 62.0 | 64.0 | 62.0 |",
    ]


def test_formats(write, capsys) -> None:
    file = write("results.json", [ROW])
    assert main(["tables", file, "--published", "--format", "latex"]) == 0
    latex = capsys.readouterr().out
    assert latex.startswith(r"\begin{tabular}{lllrrrrrrrrrl}")
    assert r"Avg, measured" in latex
    assert r"0\% & 60.0 & 62.0 & 64.0 & 62.0 & 61.76 & 64.07 & 65.35 & 63.73 & Table 4 \\" in latex
    assert main(["tables", file, "--layout", "average", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "head": ["model", "data", "method", "0%"],
        "rows": [["llava-1.5-7b", "gqa", "none", "62.0"]],
        "notes": [],
    }


def test_the_published_tables_alone(capsys) -> None:
    assert main(["tables", "--published", "--layout", "efficiency"]) == 0
    printed = capsys.readouterr().out
    assert "| llava-next-7b | metacompress | 90% | 174 (2.78) |" in printed
    assert printed.count("published, Table 2") == 5


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ("none", [], "results.json has no list 'results'"),
        ([{**ROW, "avg": "62"}], [], "Result 1 of .*results.json has no number 'avg'"),
        ([ROW, {**ROW, "acc": [1, None]}], [], "Result 2 of .*results.json has no numbers 'acc'"),
        ([ROW, 3], [], "Result 2 of .*results.json has no text 'method'"),
        ([ROW], ["--layout", "efficiency"], "Result 1 of .*results.json has no number 'ttft_ms'"),
        ([ROW], ["--layout", "ablation"], "No result names the loss terms"),
        ([ROW], ["--layout", "kinds", "--published"], "The paper has no numbers in the layout 'kinds'"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_sentence(rows, options, said, write, capsys) -> None:
    assert main(["tables", write("results.json", rows), *options]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(said, error)


def test_files_that_are_none(tmp_path, capsys) -> None:
    assert main(["tables", str(tmp_path / "missing.json")]) == 2
    assert "missing.json cannot be read: No such file" in capsys.readouterr().err
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert main(["tables", str(broken)]) == 2
    assert "broken.json is not JSON" in capsys.readouterr().err
    assert main(["tables"]) == 2
    assert "Give at least one results file" in capsys.readouterr().err
