"""Algorithm 2 from the command line."""

from compressor import Projection, load_model
from compressor.cli import main
from compressor.training import single_image
from compressor.world import scenes


def test_it_prints_the_losses_and_writes_the_best_p(tmp_path, capsys):
    out, question = tmp_path / "P.npz", "what color is the cat?"
    arguments = ["--rate", "0.95", "--steps", "6", "--every", "2", "--seed", "1", "--out", str(out)]
    assert main(["optimize", "scene:1000000004", "--question", question, *arguments]) == 0
    printed = capsys.readouterr().out.splitlines()
    model = load_model("tiny")
    tokens = model.encode(scenes.scene(1_000_000_004).image)
    settings = single_image.Settings(steps=6, every=2, seed=1)
    records = list(single_image.optimize(model, tokens, [question], 0.95, settings))
    assert [line.split(" | ")[:4] for line in printed[2:6]] == [
        [f"| {r.step}", f"{r.prediction:.4f}", f"{r.entropy:.4f}", f"{r.total:.4f}"] for r in records
    ]
    best = min(records, key=lambda record: record.total)
    assert f"Lowest loss at step {best.step}: 13 of 256 image tokens." in printed
    assert (Projection.load(out).weights == best.projection.weights).all()
    assert printed[-3] == f"> {question}" and printed[-1].startswith("  all tokens:")


def test_a_learning_rate_that_is_none_is_one_sentence(capsys):
    assert main(["optimize", "scene:4", "--question", "what is it?", "--lr", "nan"]) == 2
    assert "learning_rate must be a number of at least 0" in capsys.readouterr().err
