"""The command line prints tables, writes them with their command, and says errors in a sentence."""

import json

import pytest

from compressor.cli import main


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rates", "1.5"], "rate must be at least 0"),
        (["--methods", "magic"], "no method 'magic'"),
        (["--model", "nowhere"], "no model 'nowhere'"),
        (["--references", "crystal"], "no reference 'crystal'"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(arguments, said, capsys) -> None:
    assert main(["evaluate", "--methods", "sample", "--dialogues", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
    assert "Traceback" not in error


def test_models_lists_the_catalog(capsys) -> None:
    assert main(["models"]) == 0
    assert "llava-1.5-7b" in capsys.readouterr().out
