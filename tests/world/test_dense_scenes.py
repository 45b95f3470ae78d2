"""The second edition: a function of the seed, objects as promised, answers that agree with them."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.world import dense_scenes
from compressor.world.dense import answers, drawing, questions
from compressor.world.dense.layout import (
    BORDER_GAP,
    COLORS,
    IMAGE_SIZE,
    NAMES,
    PLACES,
    SIGN,
    SIGN_DIGITS,
    SIGN_LETTERS,
    SIZES,
    THIRD,
    DenseLayout,
    DenseObject,
    Ground,
    draw_crowd,
)
from compressor.world.dense.rendering import GLYPHS, sign_size

seeds = st.integers(0, 2**40)
HASHES = "9f444519 79474933 db739036 c4f039b3 1d82e4cf d1de5357 e2455858 43030d5c e7219b90 bce356a1"


def layout_of(*objects: tuple, ground: Ground | None = None) -> DenseLayout:
    """A layout of (name, color, shape, size, x, y), or (color, text, x, y) for a sign."""
    items = []
    for entry in objects:
        if len(entry) == 4:
            color, text, x, y = entry
            items.append(DenseObject(SIGN, color, "", "", x, y, 21.0, text))
        else:
            name, color, shape, size, x, y = entry
            items.append(DenseObject(name, color, shape, size, x, y, SIZES[size][0]))
    return DenseLayout(tuple(items), ground or Ground("grass", "sand", 1.0, 0.0, 168.0))


def test_ten_pictures_are_what_they_were() -> None:
    digests = [hashlib.sha256(dense_scenes.picture(seed).tobytes()).hexdigest()[:8] for seed in range(10)]
    assert " ".join(digests) == HASHES


def test_the_ranges_of_seeds_are_apart() -> None:
    assert 0 < dense_scenes.FIRST_TRAINING < dense_scenes.CHOOSING < dense_scenes.HELD_OUT


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_scene_is_a_function_of_its_seed(seed: int) -> None:
    first, second = dense_scenes.dialogue(seed), dense_scenes.dialogue(seed)
    assert first.turns == second.turns
    assert first.objects == second.objects
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert first.image.size == (IMAGE_SIZE, IMAGE_SIZE)
    assert first.image.mode == "RGB"


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_objects_lie_inside_the_picture_and_clear_of_the_borders_of_thirds(seed: int) -> None:
    objects = dense_scenes.layout(seed).objects
    assert 5 <= len(objects) <= 14
    for item in objects:
        for value in (item.x, item.y):
            assert item.radius <= value <= IMAGE_SIZE - item.radius
            assert all(abs(value - line) >= BORDER_GAP for line in (THIRD, 2 * THIRD))
        assert PLACES.index(item.place) == 3 * int(item.y // THIRD) + int(item.x // THIRD)
        if item.name == SIGN:
            assert item.text[0] in SIGN_LETTERS and item.text[1] in SIGN_DIGITS
            assert len(item.text) in (2, 3)
        else:
            assert SIZES[item.size][0] <= item.radius <= SIZES[item.size][1]


def test_most_objects_cover_about_four_patches_some_fewer_than_two_and_some_are_partly_covered() -> None:
    layouts = [dense_scenes.layout(seed) for seed in range(400)]
    areas = [np.pi * o.radius**2 / 14**2 for layout in layouts for o in layout.objects if o.size]
    small, medium, large = (
        np.mean([low <= a < high for a in areas]) for low, high in ((1, 2.1), (3, 5), (8, 13))
    )
    assert small + medium + large == pytest.approx(1)
    assert small > 0.15 and medium > 0.4 and large > 0.1
    covered = [
        any(
            a.distance(b) < 0.97 * (a.radius + b.radius)
            for i, b in enumerate(o.objects)
            for a in o.objects[:i]
        )
        for o in layouts
    ]
    assert 0.2 < np.mean(covered) < 0.8
    assert 6 < np.mean([len(layout.objects) for layout in layouts]) < 12
    shared = [len(items) > 1 for layout in layouts for items in layout.by_place.values()]
    assert np.mean(shared) > 0.2


def test_small_objects_are_whole() -> None:
    for seed in range(100):
        objects = dense_scenes.layout(seed).objects
        for index, item in enumerate(objects):
            if item.size in ("small", ""):
                others = [o for o in objects if o is not item]
                assert all(item.distance(o) >= 1.12 * (item.radius + o.radius) for o in others), index


def test_no_two_ground_patches_are_alike() -> None:
    for seed in range(5):
        pixels = np.asarray(dense_scenes.picture(seed)).reshape(24, 14, 24, 14, 3).swapaxes(1, 2)
        patches = pixels.reshape(576, -1)
        assert len(np.unique(patches, axis=0)) == 576


def test_plates_and_signs_have_their_colors() -> None:
    for seed in range(25):
        shown = dense_scenes.scene(seed)
        pixels = np.asarray(shown.image).astype(int)
        free = [
            o
            for o in shown.objects
            if o.size != "small"  # nearly hidden by its sprite
            and all(
                o is other or o.distance(other) > 1.4 * (o.radius + other.radius) for other in shown.objects
            )
        ]
        assert free
        for item in free:
            if item.name == SIGN:
                width, height = sign_size(item.text)
                x, y = round(item.x - width / 2) + 2, round(item.y - height / 2) + 2
            else:
                reach = {"circle": 0.88, "square": 0.78, "diamond": 1.05}[item.shape]
                x, y = round(item.x), round(item.y - reach * item.radius)  # above the sprite
            nearby = pixels[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
            assert np.abs(nearby - COLORS[item.color]).max(1).min() <= 24, (seed, item)


def test_every_character_has_a_bitmap_of_its_own() -> None:
    from PIL import Image

    with Image.open(GLYPHS) as sheet:
        columns = np.asarray(sheet.convert("L")).reshape(7, -1, 5).swapaxes(0, 1)
    assert len(columns) == len(SIGN_LETTERS + SIGN_DIGITS)
    assert len(np.unique(columns.reshape(len(columns), -1), axis=0)) == len(columns)


def test_a_crowd_shows_several_times_as_many_objects() -> None:
    assert len(draw_crowd(np.random.default_rng(0)).objects) > 30


@settings(max_examples=100, deadline=None)
@given(seeds, st.integers(1, 5), st.booleans())
def test_typed_questions_have_the_answers_of_the_dialogue(seed: int, count: int, short: bool) -> None:
    layout = dense_scenes.layout(seed)
    turns = drawing.draw_turns(layout, np.random.default_rng(seed), count, short=short)
    assert len(turns) == count
    for index, turn in enumerate(turns):
        history = [earlier.question for earlier in turns[:index]]
        assert answers.answer(layout, turn.question, history) == turn.answer
        assert answers.answer(layout, turn.question.upper().rstrip("?."), history) == turn.answer


SCENE = layout_of(
    ("cat", "red", "circle", "small", 40.0, 40.0),
    ("star", "pink", "square", "medium", 160.0, 60.0),
    ("star", "green", "circle", "large", 280.0, 280.0),
    ("key", "blue", "diamond", "large", 60.0, 150.0),
    ("bus", "red", "square", "medium", 80.0, 60.0),
    ("red", "K7M", 170.0, 300.0),
    ("blue", "E8", 300.0, 60.0),
)


@pytest.mark.parametrize(
    ("history", "question", "expected"),
    [
        ([], "Is there a cat?", "Yes, there is a cat."),
        ([], "do you see an owl?", "No, there is no owl."),
        ([], "Is there an owl? Answer in one word.", "no"),
        ([], "How many stars are there?", "There are two stars."),
        ([], "How many stars are there? Answer in one word", "two"),
        ([], "how many red objects are there?", "There are three red objects."),
        ([], "how many objects are pink?", "There is one pink object."),
        ([], "What colour is the cat?", "The cat is red."),
        ([], "What shape is the key on?", "The key is on a diamond."),
        ([], "How big is the bus?", "The bus is medium."),
        ([], "Where is the key?", "The key is in the middle-left."),
        ([], "What color is the star?", "There are two stars."),
        ([], "Where is the lion?", "There are no lions."),
        ([], "What is in the top left?", "In the top-left there is a cat and a bus."),
        ([], "What is in the top left? Answer in one word.", "In the top-left there is a cat and a bus."),
        ([], "What is in the middle left? Answer in one word.", "key"),
        ([], "What is in the center?", "In the middle-center there is nothing."),
        ([], "What is on the left side?", "On the left side there is a cat, a bus and a key."),
        ([], "Is the cat left of the bus?", "Yes, the cat is left of the bus."),
        ([], "Is the cat below the key?", "No, the cat is above the key."),
        ([], "Is the cat above the bus?", None),  # by less than can be told
        ([], "What is nearest to the cat?", "The bus is nearest to the cat."),
        ([], "Which is smaller, the key or the cat?", "The cat is smaller than the key."),
        ([], "Which is larger, the key or the cat?", "The key is larger than the cat."),
        ([], "Which is larger, the key or the sign?", None),
        ([], "What has the same color as the key?", "The sign has the same color as the key."),
        ([], "What has the same color as the cat?", None),  # two have
        ([], "What does the sign say?", "There are two signs."),
        ([], "What does the blue sign say?", "The blue sign says E8."),
        ([], "Read the red sign. Answer in one word.", "K7M"),
        ([], "What is the ground in the top left?", "The ground in the top-left is grass."),
        ([], "What is the ground in the center?", None),  # both
        (["Where is the cat?"], "What color is it?", "It is red."),
        (["Where is the cat?"], "What is nearest to it?", "The bus is nearest to it."),
        (["Where is the cat?", "What is nearest to it?"], "What color is it? Answer in one word.", "red"),
        (["Where is the cat?", "What is nearest to it?"], "How big is it?", "It is medium."),
        (["Which is smaller, the key or the cat?"], "Where is it?", "It is in the top-left."),
        (["How many stars are there?"], "How many of them are there?", "There are two of them."),
        (["How many stars are there?"], "What color is it?", None),
        (["What does the blue sign say?"], "Where is it?", None),  # there are two
        (["Where is the cat?"], "What does it say?", None),
        ([], "What color is it?", None),
        ([], "Who painted this?", answers.sentences.UNKNOWN),
        ([], "Where is the dragon?", answers.sentences.UNKNOWN),
        ([], "What can I ask?", answers.sentences.TOPICS),
    ],
)
def test_answers_and_pronouns(history: list[str], question: str, expected: str | None) -> None:
    assert answers.answer(SCENE, question, history) == expected


def test_kinds_are_about_equally_frequent_and_no_answer_gives_a_kind_away() -> None:
    kinds: dict[str, list[str]] = {kind: [] for kind in questions.KINDS}
    for seed in range(2000):
        layout = dense_scenes.layout(seed)
        for turn in drawing.draw_turns(layout, np.random.default_rng([seed, 3]), 3, short=True):
            kinds[turn.kind].append(turn.answer)
    total = sum(map(len, kinds.values()))
    assert all(0.005 < len(given) / total < 0.1 for given in kinds.values())
    short = {kind: given for kind, given in kinds.items() if kind not in questions.NO_SHORT_FORM}
    commonest = {kind: Counter(given).most_common(1)[0][1] for kind, given in short.items()}
    commonest["compare"] = len(short["compare"]) / 2  # the question names both
    assert (
        sum(commonest.values()) / sum(map(len, short.values())) < 0.24
    )  # who knows the kind and sees nothing


def test_suggestions_are_different_and_have_answers() -> None:
    for seed in range(30):
        shown = dense_scenes.scene(seed)
        texts = shown.suggestions(6)
        assert len(set(texts)) == 6
        assert all(shown.answer(text) is not None for text in texts)


def test_names_have_one_plural_each() -> None:
    assert len(set(NAMES.values())) == len(NAMES)
