"""The grouping rule: what it promises for any file, and one case by hand."""

import hashlib
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from compressor.data.grouping import drawn_order, grouped_dialogues, groups
from compressor.dialogues import Turn

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
files = st.dictionaries(ids, st.sampled_from(["1", "1-1", "n25", "ü", ""]), max_size=40)
turns = st.integers(1, 5)
seeds = st.integers(0, 2**31)


@given(files, turns, seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_matter(image_of, turns, seed, random):
    shuffled = list(image_of.items())
    random.shuffle(shuffled)
    assert list(groups(dict(shuffled), turns, seed)) == list(groups(image_of, turns, seed))


@given(files, turns, seeds)
def test_every_group_is_about_one_image_and_no_question_is_used_twice(image_of, turns, seed):
    found = list(groups(image_of, turns, seed))
    used = [question for group in found for question in group.questions]
    assert len(used) == len(set(used))
    assert len({group.id for group in found}) == len(found)
    for group in found:
        assert len(group.questions) == turns
        assert {image_of[question] for question in group.questions} == {group.image}
    images = list(image_of.values())
    assert len(found) == sum(images.count(image) // turns for image in set(images))


@given(files, turns, seeds, st.integers(0, 10))
def test_images_come_in_rounds_so_that_few_dialogues_show_many_images(image_of, turns, seed, count):
    found = [group.image for group in groups(image_of, turns, seed)]
    usable = {i for i in image_of.values() if list(image_of.values()).count(i) >= turns}
    assert set(found[: len(usable)]) == usable
    first = [group.image for group in islice(groups(image_of, turns, seed), count)]
    assert first == found[:count]


def test_the_order_is_that_of_the_hashes():
    keys = ["07", "7", "cat"]
    expected = sorted(keys, key=lambda key: hashlib.sha256(f"5 {key}".encode()).hexdigest())
    assert drawn_order(keys, 5) == expected
    # fixed, so that a change of the rule cannot pass unseen: other dialogues, other results
    assert drawn_order("abcdefgh", 0) == list("eghbfacd")


def test_another_seed_groups_otherwise():
    image_of = {str(number): str(number % 5) for number in range(60)}
    first, second = (set(group.questions for group in groups(image_of, 3, seed)) for seed in (0, 1))
    assert first != second


def test_only_what_is_asked_for_is_built():
    image_of = {f"{image}{number}": image for image in "ab" for number in range(7)}
    built: list[str] = []

    def turn_of(question):
        built.append(question)
        return Turn(question, "yes")

    def loader_of(image):
        built.append(image)
        return lambda: Image.new("RGB", (1, 1))

    found = grouped_dialogues(image_of, turn_of, loader_of, count=1, seed=0, turns=3)
    assert len(found) == 1
    assert built == [found[0].id[0], *(turn.question for turn in found[0].turns)]
    assert len(grouped_dialogues(image_of, turn_of, loader_of, count=None, seed=0, turns=3)) == 4
