"""The grammar: every sentence that is made turns back into its facts, the facts are true, grades are fair."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.world import dense_scenes
from compressor.world.dense import answers, drawing, sentences
from compressor.world.dense.layout import DIRECTIONS, DISTINCT, SIDES, SIGN, DenseLayout
from compressor.world.dense.questions import FOLLOW_UPS, SHORT
from compressor.world.dense.sentences import NUMBERS, facts, grade

seeds = st.integers(0, 2**40)


def _inside(layout: DenseLayout, where: str) -> list:
    return [o for o in layout.objects if (o.on_side(where) if where in SIDES else o.place == where)]


def _compares(layout: DenseLayout, kind: str, one: str, other: str) -> bool:
    a, b = layout.unique[one].radius, layout.unique[other].radius
    return a < b if kind == "smaller" else a > b


def holds(layout: DenseLayout, fact: tuple[str, ...]) -> bool:
    """Whether a fact is true, decided from the objects alone and not by the code that answers."""
    kind, *words = fact
    names = [o.name for o in layout.objects]
    if kind in ("present", "absent"):
        return (words[0] in names) == (kind == "present")
    if kind == "count":
        both = names + [o.color for o in layout.objects]
        return NUMBERS[both.count(words[0])] == words[1]
    if kind in ("color", "size", "shape", "place"):
        (item,) = [o for o in layout.objects if o.name == words[0]]
        return getattr(item, kind) == words[1]
    if kind in ("relation", "no relation"):
        one, direction, other = words
        x, y = DIRECTIONS[direction]
        a, b = layout.unique[one], layout.unique[other]
        return x * (a.x - b.x) + y * (a.y - b.y) >= DISTINCT
    if kind == "nearest":
        item = layout.unique[words[1]]
        others = [o for o in layout.objects if o is not item]
        return min(others, key=lambda o: (o.x - item.x) ** 2 + (o.y - item.y) ** 2).name == words[0]
    if kind in ("smaller", "larger"):
        return _compares(layout, kind, *words)
    if kind == "same color":
        item = layout.unique[words[1]]
        same = [o.name for o in layout.objects if o.color == item.color and o is not item]
        return same == ([] if words[0] == "nothing" else [words[0]])
    if kind == "says":
        color = words[0].removesuffix(SIGN).strip()
        return [o.text for o in layout.objects if o.name == SIGN and color in ("", o.color)] == [words[1]]
    if kind == "ground":
        return layout.ground.at(words[0]) == words[1]
    if kind == "inside":
        found = [o.name for o in _inside(layout, words[0])]
        return words[1] in found if words[1] != "nothing" else not found
    if kind == "with":
        where, name, attribute, value = words
        return any(o.name == name and getattr(o, attribute) == value for o in _inside(layout, where))
    return kind in ("unknown", "topics")


@settings(max_examples=150, deadline=None)
@given(seeds)
def test_every_sentence_turns_back_into_its_facts_and_they_are_true(seed: int) -> None:
    layout = dense_scenes.layout(seed)
    for question, resolved, text, _ in drawing.draw_questions(layout, np.random.default_rng(seed), 12):
        plain = answers.true_answer(layout, resolved)
        assert facts(plain.sentence) == Counter(plain.facts), plain
        assert all(holds(layout, fact) for fact in plain.facts), (question, plain)
        pronoun = question.kind.split()[0] if question.kind in FOLLOW_UPS else ""
        replaced = {resolved.name: pronoun} if pronoun else {}
        said = Counter(tuple(replaced.get(word, word) for word in fact) for fact in plain.facts)
        assert facts(text) == said
        assert grade(text, text) == 1.0


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_description_names_every_object_with_its_attributes(seed: int) -> None:
    layout = dense_scenes.layout(seed)
    found = facts(answers.answer(layout, "Describe the picture."))
    expected: Counter = Counter()
    for item in layout.objects:
        expected["inside", item.place, item.name] += 1
        keys = ("color", "text") if item.name == SIGN else ("size", "color", "shape")
        for key in keys:
            expected["with", item.place, item.name, key, getattr(item, key)] += 1
    assert found == expected


def test_the_short_form_is_the_word_of_the_sentence() -> None:
    for seed in range(60):
        layout = dense_scenes.layout(seed)
        for question, resolved, _, _ in drawing.draw_questions(layout, np.random.default_rng(seed), 8):
            answer = answers.true_answer(layout, resolved)
            if answer.short and answer.short not in ("yes", "no", "zero"):
                assert answer.short in answer.sentence.replace("Nothing", "nothing"), (question, answer)
            if answer.short:
                assert " " not in answer.short
                assert answers.answer(layout, f"{resolved.text} {SHORT}") == answer.short


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("The cat is red.", "The cat is red.", 1.0),
        ("The cat is blue.", "The cat is red.", 0.0),
        ("The dog is red.", "The cat is red.", 0.0),
        ("red", "red", 1.0),
        ("Red.", "red", 1.0),
        ("red", "The cat is red.", 0.0),
        ("", "red", 0.0),
        ("gibberish of a model.", "The cat is red.", 0.0),
        ("In the top-left there is a cat.", "In the top-left there is a cat and a dog.", 2 / 3),
        ("In the top-left there is a dog and a cat.", "In the top-left there is a cat and a dog.", 1.0),
        ("In the top-left there is a cat and a cat.", "In the top-left there is a cat.", 2 / 3),
        (
            "In the top-left there is a small cat on a red circle.",
            "In the top-left there is a small cat on a blue circle.",
            3 / 4,
        ),
        (
            "In the top-left there is a small dog on a red circle.",
            "In the top-left there is a small cat on a red circle.",
            0.0,
        ),
        (
            "In the top-left there is a red sign that says K7M. In the top-right there is",
            "In the top-left there is a red sign that says K7M.",
            6 / 7,
        ),
    ],
)
def test_grades(answer: str, truth: str, expected: float) -> None:
    assert grade(answer, truth) == pytest.approx(expected)


def test_sentences_of_other_kinds_are_facts_of_no_kind() -> None:
    assert facts("The moon is made of cheese.") == Counter([("?", "The moon is made of cheese.")])
    assert sentences.facts(sentences.UNKNOWN) == Counter([("unknown",)])
