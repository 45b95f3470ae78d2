"""The numbers are means of what was graded, their intervals those of a slow bootstrap."""

import math
from dataclasses import replace

import numpy as np
import pytest

from compressor import get_method
from compressor.dialogues import Dialogue, Turn
from compressor.errors import InvalidOptionError, InvalidRateError, ResultsError
from compressor.evaluation.accuracy import (
    Accuracy,
    bootstrap_interval,
    differences,
    evaluate,
    graded,
    paired_difference,
)
from compressor.evaluation.answering import Answers, Setting
from compressor.evaluation.baselines import gray_dialogues
from compressor.evaluation.run_folder import RunFolder
from compressor.evaluation.scoring import scorer
from compressor.world import scenes

EXACT = scorer("exact")
RUN = {"model": "tiny", "dialogues": 6}


def test_averages_errors_and_differences_by_hand() -> None:
    kinds = np.array([["a", "b"], ["a", "b"], ["b", ""]])
    first = Accuracy("x", 0.9, 26.04, np.array([[1.0, 1], [1, 0], [0, 0]]), kinds)
    second = Accuracy("sample", 0.9, 26.0, np.array([[1.0, 0], [0, 0], [0, 0]]), kinds)
    assert first.per_turn == pytest.approx([200 / 3, 100 / 3])
    assert first.average == pytest.approx(50)
    assert first.standard_error == pytest.approx(100 * 0.5 / 3**0.5)  # means 1, 0.5, 0: deviation 0.5
    assert first.per_kind() == pytest.approx({"a": 100, "b": 100 / 3})
    value, error = paired_difference(first, second)  # 0.5, 0.5, 0
    assert value == pytest.approx(100 / 3)
    assert error == pytest.approx(100 * (1 / 12) ** 0.5 / 3**0.5)
    assert differences([first, second], "x", "sample") == [
        {"rate": 0.9, "difference": "x - sample", "points": 33.33, "standard_error": 16.67}
    ]
    assert differences([first, replace(second, rate=0.5)], "x", "sample") == []
    row = first.as_data(model="tiny", data="scenes")
    assert row.pop("interval") == [0.0, 100.0]  # three times the worst has a chance of 1/27, over 2.5 %
    assert row == {
        "model": "tiny",
        "data": "scenes",
        "method": "x",
        "rate": 0.9,
        "image_tokens": 26.0,
        "dialogues": 3,
        "acc": [66.67, 33.33],
        "avg": 50.0,
        "standard_error": 28.87,
        "kinds": {"a": 100.0, "b": 33.3},
    }


def test_answers_without_a_letter_are_counted_apart_from_wrong_ones() -> None:
    choice = Turn("which?", "A", options=("a dog", "two cats"))
    asked = [Dialogue(lambda: None, (choice, choice), id=name) for name in "xy"]
    setting = Setting("none", 0.0, lambda tokens, budget, dialogue: None)
    texts = {"x": ["A.", "B."], "y": ["I don't know", "A or B"]}
    said = {(setting.key, name): Answers(setting.key, name, texts[name], 26) for name in "xy"}
    result = graded(asked, setting, said, scorer("choice"))
    assert (result.average, result.no_letter, result.as_data()["no_letter"]) == (25.0, 2, 2)
    free = Turn("which?", "A")
    result = graded([Dialogue(lambda: None, (free, free), id=name) for name in "xy"], setting, said, EXACT)
    assert result.no_letter is None and "no_letter" not in result.as_data()


def test_what_a_judge_left_out_counts_in_no_number_and_in_no_pair() -> None:
    scores = np.array([[8.0, 6], [math.nan, math.nan], [2, 4], [5, 5]])
    kinds = np.full((4, 2), "")
    first = Accuracy("x", 0.9, 26, scores, kinds, unit=1.0, overall=np.array([7, math.nan, 3, 5]))
    other = np.array([[7.0, 7], [1, 1], [math.nan, math.nan], [1, 1]])
    second = Accuracy("y", 0.9, 26, other, kinds, unit=1.0, overall=np.array([7, 1, math.nan, 1]))
    row = first.as_data()
    assert (row["acc"], row["avg"], row["overall"]) == ([5.0, 5.0], 5.0, 5.0)
    assert (row["dialogues"], row["unscored"], row["kinds"]) == (3, 1, {})
    assert paired_difference(first, second) == pytest.approx((2.0, 2.0))  # 0 and 4 on the common two


@pytest.mark.parametrize("seed", [0, 1])
def test_the_bootstrap_interval_is_that_of_a_slow_loop(seed: int) -> None:
    values = np.random.default_rng(5).choice([0.0, 1 / 3, 2 / 3, 1.0], size=40)
    rng = np.random.default_rng(seed)
    means = sorted(sum(values[rng.integers(40, size=40)].tolist()) / 40 for _ in range(2001))
    found = bootstrap_interval(values, resamples=2001, seed=seed)
    assert found == pytest.approx((means[50], means[1950]), abs=1e-12)  # 2.5 % of 2000 steps from each end


def test_the_bootstrap_interval_has_the_width_of_a_normal_one() -> None:
    values = np.random.default_rng(0).normal(50, 20, size=5000)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05 * half)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(np.array([3.0, 3.0])) == (3.0, 3.0)


def test_the_bundled_model_answers_scenes_and_not_gray_pictures(tiny) -> None:
    asked = [scenes.dialogue(scenes.HELD_OUT + 600_000 + i) for i in range(24)]
    setting = Setting.of(get_method("none"), 0.0)
    (seen,) = evaluate(tiny, asked, [setting], EXACT)
    (unseen,) = evaluate(tiny, gray_dialogues(asked), [setting], EXACT)
    assert seen.average > 75
    assert unseen.average < 35
    assert seen.tokens == 256


def same(first: list[Accuracy], second: list[Accuracy]) -> bool:
    return [each.as_data() for each in first] == [each.as_data() for each in second]


def test_an_interrupted_run_asks_only_for_what_is_missing(tiny, dialogues, tmp_path, monkeypatch) -> None:
    settings = [Setting.of(get_method(name, model=tiny), 0.9) for name in ("random", "metacompress")]
    whole = evaluate(tiny, dialogues, settings, EXACT, batch=4)
    encode, encoded = tiny.encode_batch, []

    def failing(images, want):
        encoded.append(len(images))
        if len(encoded) == 2:
            raise KeyboardInterrupt
        return encode(images, want)

    monkeypatch.setattr(tiny, "encode_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny, dialogues, settings, EXACT, batch=4, folder=RunFolder(tmp_path, RUN))
    assert len(RunFolder(tmp_path, RUN).read()) == 8
    counts = []
    again = evaluate(
        tiny, dialogues, settings, EXACT, folder=RunFolder(tmp_path, RUN), progress=counts.append
    )
    assert encoded == [4, 2, 2]
    assert counts == [8, 2, 2]
    assert same(whole, again)
    assert same(whole, evaluate(tiny, dialogues, settings, EXACT, folder=RunFolder(tmp_path, RUN)))
    assert encoded == [4, 2, 2]


def test_what_cannot_be_evaluated_is_said_in_a_sentence(tiny, dialogues, tmp_path) -> None:
    setting = Setting.of(get_method("none"), 0.0)
    with pytest.raises(InvalidOptionError, match="same id"):
        evaluate(tiny, [*dialogues, dialogues[0]], [setting], EXACT)
    with pytest.raises(InvalidOptionError, match="number of turns"):
        evaluate(tiny, [*dialogues, scenes.dialogue(7, turns=2)], [setting], EXACT)
    with pytest.raises(InvalidOptionError, match="name each once"):
        evaluate(tiny, dialogues, [setting, setting], EXACT)
    with pytest.raises(InvalidOptionError, match="no dialogue"):
        evaluate(tiny, [], [setting], EXACT)
    with pytest.raises(InvalidRateError):
        Setting.of(get_method("sample"), 1.0)
    RunFolder(tmp_path, RUN)
    with pytest.raises(ResultsError, match="with dialogues 6, not 7;"):
        RunFolder(tmp_path, {**RUN, "dialogues": 7})
