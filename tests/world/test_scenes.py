"""The generated world: repeatable, drawn where it says, and its answers true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.world import questions, scenes
from compressor.world.layout import (
    BACKGROUND_COLORS,
    CELLS,
    CLASSES,
    DISC_COLORS,
    GRID,
    IMAGE_SIZE,
    Layout,
    SceneObject,
)
from compressor.world.rendering import SPRITES

seeds = st.integers(0, 2**40)


def layout_of(*objects: tuple[str, str, int], background: str = "white", pattern: str = "plain") -> Layout:
    side = IMAGE_SIZE / GRID
    placed = [
        SceneObject(name, color, cell, side * (cell % GRID + 0.5), side * (cell // GRID + 0.5), 21.0)
        for name, color, cell in objects
    ]
    return Layout(tuple(placed), background, pattern)


def test_every_class_has_its_sprite_and_there_are_forty() -> None:
    assert len(CLASSES) == 40
    assert {path.stem for path in SPRITES.glob("*.png")} == set(CLASSES)


def test_there_are_twelve_kinds_and_three_of_them_use_a_pronoun() -> None:
    assert len(set(questions.KINDS)) == 12
    assert len(questions.FOLLOW_UPS) == 3


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_a_scene_is_a_function_of_its_seed(seed: int) -> None:
    first, second = scenes.dialogue(seed), scenes.dialogue(seed)
    assert first.turns == second.turns
    assert first.objects == second.objects
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert first.image.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert first.image.mode == "RGB"


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_objects_lie_inside_their_own_cells(seed: int) -> None:
    objects = scenes.layout(seed).objects
    side = IMAGE_SIZE / GRID
    assert 3 <= len(objects) <= 9
    assert len({item.cell for item in objects}) == len(objects)
    for item in objects:
        row, column = divmod(item.cell, GRID)
        assert column * side <= item.x - item.radius and item.x + item.radius <= (column + 1) * side
        assert row * side <= item.y - item.radius and item.y + item.radius <= (row + 1) * side


def test_discs_and_background_have_their_colors() -> None:
    for seed in range(20):
        shown = scenes.scene(seed)
        pixels = np.asarray(shown.image).astype(int)
        for item in shown.objects:
            x, y = round(item.x), round(item.y - 0.9 * item.radius)  # on the disc, above the sprite
            assert np.abs(pixels[y, x] - DISC_COLORS[item.color]).max() <= 12
        if shown.layout.pattern == "plain":
            assert tuple(pixels[0, 0]) == BACKGROUND_COLORS[shown.layout.background]


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 10))
def test_typed_questions_have_the_answers_of_the_dialogue(seed: int, count: int) -> None:
    shown = scenes.layout(seed)
    turns = scenes.draw_turns(shown, np.random.default_rng(seed), count)
    assert len(turns) == count
    for index, turn in enumerate(turns):
        history = [earlier.question for earlier in turns[:index]]
        assert questions.answer(shown, turn.question, history) == turn.answer
        assert questions.answer(shown, turn.question.upper().rstrip("?"), history) == turn.answer


@pytest.mark.parametrize(
    ("history", "question", "expected"),
    [
        ([], "Is there a cat?", "yes"),
        ([], "is there an owl?", "no"),
        ([], "How many stars are there?", "2"),
        ([], "how many objects are there?", "4"),
        ([], "what is in the top left?", "cat"),
        ([], "what is in the bottom-right?", "nothing"),
        ([], "What colour is the cat?", "red"),
        ([], "what color is the star?", None),  # there are two
        ([], "what is right of the cat?", "star"),
        ([], "what is above the cat?", "nothing"),
        ([], "what is below the cat?", "key"),
        ([], "where is the key?", "middle-left"),
        ([], "what color is the background?", "navy"),
        ([], "what pattern does the background have?", "striped"),
        (["where is the cat?"], "what color is it?", "red"),
        (["what is below the cat?"], "what color is it?", "blue"),
        (["what is right of the cat?"], "what color is it?", None),  # a star, but which
        (["what is right of the cat?"], "how many of them are there?", "2"),
        (["where is the key?", "what color is it?"], "where is it?", "middle-left"),
        (["is there an owl?"], "how many of them are there?", None),
        ([], "what color is it?", None),
        ([], "who painted this?", None),
        ([], "where is the dragon?", None),
    ],
)
def test_answers_and_pronouns(history: list[str], question: str, expected: str | None) -> None:
    shown = layout_of(
        ("cat", "red", 0),
        ("star", "pink", 1),
        ("key", "blue", 3),
        ("star", "green", 4),
        background="navy",
        pattern="striped",
    )
    assert questions.answer(shown, question, history) == expected


def test_all_kinds_occur_about_equally_and_no_answer_gives_a_kind_away() -> None:
    kinds: dict[str, list[str]] = {kind: [] for kind in questions.KINDS}
    for seed in range(1500):
        for turn in scenes.draw_turns(scenes.layout(seed), np.random.default_rng([seed, 3]), 3):
            kinds[turn.kind].append(turn.answer)
    total = sum(map(len, kinds.values()))
    for kind, answers in kinds.items():
        assert 0.06 < len(answers) / total < 0.11, kind
    commonest = [max(answers.count(word) for word in set(answers)) for answers in kinds.values()]
    assert sum(commonest) / total < 0.26  # a guesser that knows the kind and sees nothing


def test_suggestions_are_different_and_have_answers() -> None:
    for seed in range(30):
        shown = scenes.scene(seed)
        texts = shown.suggestions(6)
        assert len(set(texts)) == 6
        assert all(shown.answer(text) is not None for text in texts)


def test_all_cells_are_named() -> None:
    assert len(CELLS) == GRID * GRID
