"""Answers side by side are the answers of a chat, and the numbers are means of what was marked."""

import numpy as np
import pytest

from compressor import ChatSession, get_method, load_model
from compressor.data import scenes
from compressor.evaluation import references, tables
from compressor.evaluation.accuracy import (
    Accuracy,
    answer_batch,
    by_method,
    differences,
    encode_all,
    evaluate,
    exact_match,
    paired_difference,
)
from compressor.evaluation.gray import gray_dialogues


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def dialogues():
    return [scenes.dialogue(scenes.HELD_OUT + 500_000 + i) for i in range(8)]


@pytest.mark.parametrize(
    ("prediction", "truth", "expected"),
    [("cat", "cat", True), (" Cat. ", "cat", True), ("cats", "cat", False), ("", "cat", False)],
)
def test_exact_match_forgives_case_space_and_full_stop_only(
    prediction: str, truth: str, expected: bool
) -> None:
    assert exact_match(prediction, truth) is expected


@pytest.mark.parametrize("method", ["none", "metacompress", "random"])
def test_a_batch_answers_as_a_session_does(model, dialogues, method: str) -> None:
    chosen = get_method(method, model=model)
    tokens = encode_all(model, dialogues)
    reduced = [model.compress(t, chosen.projection(t, 26)) for t in tokens]
    batched = answer_batch(model, reduced, [[t.question for t in d.turns] for d in dialogues])
    for dialogue, answers in zip(dialogues[:3], batched, strict=False):
        session = ChatSession(model, dialogue.image, method=method, rate=1 - 26 / 256)
        assert ["".join(session.ask(t.question, max_new_tokens=16)) for t in dialogue.turns] == answers


@pytest.mark.parametrize("method", ["visionzip", "fastv"])
def test_an_evaluation_counts_what_a_session_answers(model, dialogues, method: str) -> None:
    chosen = get_method(method, model=model)
    asked = dialogues[:4]
    result = evaluate(model, asked, encode_all(model, asked, chosen.needs), by_method(chosen), 0.9, method)
    for dialogue, correct in zip(asked, result.correct, strict=True):
        session = ChatSession(model, dialogue.image, method=method, rate=0.9)
        answers = ["".join(session.ask(t.question, max_new_tokens=16)) for t in dialogue.turns]
        truth = [turn.answer for turn in dialogue.turns]
        assert [exact_match(a, t) for a, t in zip(answers, truth, strict=True)] == correct.tolist()
    assert result.tokens == 26


def test_the_bundled_model_answers_scenes_and_not_gray_pictures(model) -> None:
    asked = [scenes.dialogue(scenes.HELD_OUT + 600_000 + i) for i in range(60)]
    project = by_method(get_method("none"))
    seen = evaluate(model, asked, encode_all(model, asked), project, 0.0, "none")
    blind = gray_dialogues(asked)
    unseen = evaluate(model, blind, encode_all(model, blind), project, 0.0, "gray")
    assert seen.average > 75
    assert unseen.average < 35
    assert seen.tokens == 256


def test_averages_errors_and_differences_by_hand() -> None:
    kinds = np.array([["a", "b"], ["a", "b"], ["b", "b"]])
    first = Accuracy("x", 0.9, 26, np.array([[1, 1], [1, 0], [0, 0]], dtype=bool), kinds)
    second = Accuracy("sample", 0.9, 26, np.array([[1, 0], [0, 0], [0, 0]], dtype=bool), kinds)
    assert first.per_turn == pytest.approx([200 / 3, 100 / 3])
    assert first.average == pytest.approx(50)
    assert first.standard_error == pytest.approx(100 * 0.5 / 3**0.5)  # means 1, 0.5, 0: deviation 0.5
    assert first.per_kind() == pytest.approx({"a": 100, "b": 25})
    value, error = paired_difference(first, second)  # 0.5, 0.5, 0
    assert value == pytest.approx(100 / 3)
    assert error == pytest.approx(100 * (1 / 12) ** 0.5 / 3**0.5)
    assert differences([first, second], "x", "sample") == [
        {"rate": 0.9, "difference": "x - sample", "points": 33.33, "standard_error": 16.67}
    ]
    assert "| x | 90% | 26 | 66.7 | 33.3 | 50.0 | 28.9 |" in str(
        tables.accuracy_table([first.as_data(), second.as_data()])
    )


@pytest.mark.parametrize("m", [1, 2, 5, 13, 26, 100, 200, 256])
def test_references_keep_m_different_tokens_in_raster_order(model, dialogues, m: int) -> None:
    tokens = encode_all(model, dialogues[:1])[0]
    for reference in (references.grid_sample, references.oracle):
        weights = reference(tokens, m, dialogues[0]).weights
        assert weights.shape == (m, 256)
        assert weights.sum(0).max() == 1
        kept = weights.argmax(1)
        assert (kept[1:] > kept[:-1]).all()


def test_the_oracle_keeps_the_middle_of_every_object(model, dialogues) -> None:
    dialogue = dialogues[0]
    tokens = encode_all(model, [dialogue])[0]
    kept = references.oracle(tokens, 13, dialogue).weights.sum(0) > 0
    for item in dialogue.objects:
        assert kept[int(item.y // 14) * 16 + int(item.x // 14)]
