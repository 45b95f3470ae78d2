"""``profile`` prints and writes what was measured."""

import json

import pytest

from compressor.cli import main
from compressor.models.random_weights import BUILDERS

FAST = ["--new-tokens", "2", "--repeats", "1", "--device", "cpu"]


def test_the_table_and_the_file_hold_the_same_rows(tmp_path, capsys):
    out = tmp_path / "profile.json"
    arguments = ["profile", "--methods", "sample,metacompress", "--batch", "1,2", "--json", str(out)]
    assert main([*arguments, *FAST]) == 0
    data = json.loads(out.read_text())
    assert data["command"].startswith("python -m compressor profile --methods sample,metacompress")
    rows = data["results"]
    assert [(row["method"], row["batch"]) for row in rows] == [
        (method, batch) for batch in (1, 2) for method in ("none", "sample", "metacompress")
    ]
    assert all(row["model"] == "tiny" and row["random_weights"] is False for row in rows)
    printed = capsys.readouterr().out
    for row in rows:
        ratio = rows[0 if row["batch"] == 1 else 3]["ttft_ms"] / row["ttft_ms"]
        line = f"| {row['method']} | {row['rate']:.0%} | {row['image_tokens']:.0f} | {row['ttft_ms']:.1f} |"
        assert any(each.startswith(line) and each.endswith(f"{ratio:.2f} |") for each in printed.splitlines())


def test_full_size_models_need_no_checkpoint(tmp_path, monkeypatch, small_builder):
    from compressor.models import random_weights

    monkeypatch.setitem(BUILDERS, "llava-1.5-7b", small_builder)
    monkeypatch.setattr(random_weights, "require_memory", lambda *_: None)
    out = tmp_path / "profile.json"
    arguments = ["profile", "--model", "llava-1.5-7b", "--random-weights", "--batch", "1", "--json", str(out)]
    assert main([*arguments, *FAST]) == 0
    rows = json.loads(out.read_text())["results"]
    assert len(rows) == 11 and all(row["random_weights"] and row["dtype"] == "bfloat16" for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "magic"], "no method 'magic'"),
        (["--random-weights", "--four-bit"], "not in 4-bit"),
        (["--random-weights"], "no sizes to give 'tiny'"),
        (["--rate", "1"], "rate must be at least 0"),
        (["--batch", "0"], "batch must be a whole number of at least 1, not 0"),
        (["--repeats", "0"], "at least one repeat"),
    ],
)
def test_what_cannot_be_profiled_is_said_in_one_sentence(arguments, said, capsys):
    assert main(["profile", *FAST, *arguments]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("weights", [["--random-weights"], []])
def test_a_large_model_on_a_cpu_is_refused_at_once(weights, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for module in ("random_weights.random_model", "loading.load.load_model"):
        monkeypatch.setattr(f"compressor.models.{module}", lambda *_, **__: pytest.fail("it was made"))
    assert main(["profile", "--model", "llava-1.5-7b", *weights]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "no GPU here, and llava-1.5-7b has 14.1 GB" in said and "--device cpu" in said


def test_so_is_a_large_checkpoint_but_not_where_the_cpu_is_asked_for(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("compressor.cli.profile.CPU_GB", 1e-5)
    arguments = ["profile", "--model", str(checkpoint), "--methods", "sample", "--batch", "1", *FAST[:-2]]
    assert main(arguments) == 2
    assert "no GPU here" in capsys.readouterr().err
    assert main([*arguments, "--prompt-tokens", "9", "--device", "cpu"]) == 0
    monkeypatch.setattr("compressor.cli.profile.CPU_GB", 1.0)
    assert main([*arguments, "--prompt-tokens", "9"]) == 0
