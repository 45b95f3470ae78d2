"""The benchmarks by name; the generated world and its two halves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.data import benchmarks
from compressor.data.benchmarks import get_benchmark, list_benchmarks
from compressor.errors import DataError, StudioError, UnknownBenchmarkError
from compressor.world import dense_scenes, questions, scenes
from compressor.world.layout import CLASSES

HALVES = {
    "scenes-a": (benchmarks.CLASSES_A, benchmarks.KINDS_A),
    "scenes-b": (benchmarks.CLASSES_B, benchmarks.KINDS_B),
}


def named_class(question):
    """The class that a question names; None for one that names a cell or nothing."""
    name = questions.parse(question).name
    return name if name in CLASSES else None


def test_names_and_scorers():
    assert {benchmark.name: benchmark.scorer for benchmark in list_benchmarks()} == {
        "scenes": "exact",
        "scenes-a": "exact",
        "scenes-b": "exact",
        "dense-scenes": "facts",
        "gqa": "exact",
        "vqa-v2": "vqa",
        "convbench": "judge",
        "video-mme": "choice",
    }
    for benchmark in list_benchmarks():
        assert get_benchmark(benchmark.name) is benchmark
        assert benchmark.needs_folder == ("scenes" not in benchmark.name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownBenchmarkError, match=r"no benchmark 'coco'; choose among scenes, .*video-mme"):
        get_benchmark("coco")
    assert issubclass(UnknownBenchmarkError, StudioError)


@pytest.mark.parametrize("name", ["gqa", "vqa-v2", "convbench", "video-mme"])
def test_a_folder_is_needed_and_must_be_there(name, tmp_path):
    with pytest.raises(DataError, match="name the folder"):
        get_benchmark(name).dialogues("validation")
    with pytest.raises(DataError, match="There is no folder"):
        get_benchmark(name).dialogues("validation", folder=tmp_path / "nowhere")
    with pytest.raises(DataError, match="There is no file"):
        get_benchmark(name).dialogues("validation", folder=tmp_path)


@pytest.mark.parametrize("name", ["convbench", "video-mme"])
def test_some_have_no_training_split(name, tmp_path):
    with pytest.raises(DataError, match="no split 'train'; it has validation"):
        get_benchmark(name).dialogues("train", folder=tmp_path)


@pytest.mark.parametrize(
    "options", [{"split": "test"}, {"count": 0}, {"turns": 0}, {"seed": -1}, {"seed": 800}]
)
def test_what_cannot_be_asked_of_the_generated_world(options):
    with pytest.raises(DataError):
        get_benchmark("scenes").dialogues(**{"split": "train", "count": 1, **options})


@pytest.mark.parametrize("name", ["scenes", "gqa", "vqa-v2", "video-mme"])
def test_only_convbench_leaves_dialogues_out(name, tmp_path):
    with pytest.raises(DataError, match="no picture may be missing: leave --skip-missing out"):
        get_benchmark(name).dialogues("validation", folder=tmp_path, left_out=print)


def test_dense_scenes_are_those_of_their_seeds_in_three_ranges_apart():
    dense = get_benchmark("dense-scenes")
    firsts = {
        "train": dense_scenes.FIRST_TRAINING,
        "choosing": dense_scenes.CHOOSING,
        "validation": dense_scenes.HELD_OUT,
    }
    for split, first in firsts.items():
        found = dense.dialogues(split, count=2, seed=1, turns=4)
        assert [d.id for d in found] == [f"dense-scene-{first + 1_000_000 + i}" for i in range(2)]
        assert found[0].turns == dense_scenes.dialogue(first + 1_000_000, 4).turns
    with pytest.raises(DataError, match="each seed from 0 to 699"):
        dense.dialogues("train", seed=700)
    with pytest.raises(DataError, match="each seed from 0 to 99"):
        dense.dialogues("choosing", seed=100)
    longest = max(len(t.answer.split()) for d in dense.dialogues("validation") for t in d.turns)
    assert 1.5 * longest < dense.max_new_tokens


def test_scenes_are_those_of_their_seeds():
    held_out = get_benchmark("scenes").dialogues("validation", count=3)
    assert [d.id for d in held_out] == [f"scene-{scenes.HELD_OUT + i}" for i in range(3)]
    assert [d.turns for d in held_out] == [scenes.dialogue(scenes.HELD_OUT + i).turns for i in range(3)]
    assert [d.id for d in get_benchmark("scenes").dialogues("train", count=2, seed=1)] == [
        "scene-201000000",
        "scene-201000001",
    ]
    assert len(get_benchmark("scenes").dialogues("train")) == 500
    last = get_benchmark("scenes").dialogues("train", count=1, seed=799)[0]
    assert int(last.id.removeprefix("scene-")) + 1_000_000 == scenes.HELD_OUT


def test_the_halves_are_disjoint_and_together_everything():
    (classes_a, kinds_a), (classes_b, kinds_b) = HALVES.values()
    assert not set(classes_a) & set(classes_b)
    assert set(classes_a) | set(classes_b) == set(CLASSES)
    assert len(classes_a) == len(classes_b) == 20
    assert not set(kinds_a) & set(kinds_b)
    assert set(kinds_a) | set(kinds_b) == set(questions.KINDS)
    for kinds in (kinds_a, kinds_b):
        assert len(kinds) == 6
        assert set(kinds) & set(questions.FOLLOW_UPS)


@pytest.mark.parametrize("name", HALVES)
@settings(max_examples=25)
@given(first=st.integers(0, 799), turns=st.integers(1, 5))
def test_a_half_shows_and_asks_for_nothing_of_the_other(name, first, turns):
    classes, kinds = HALVES[name]
    other = set(CLASSES) - set(classes)
    found, again = (
        get_benchmark(name).dialogues("validation", count=4, seed=first, turns=turns) for _ in range(2)
    )
    assert [(d.id, d.turns, d.objects) for d in found] == [(d.id, d.turns, d.objects) for d in again]
    for dialogue in found:
        assert len(dialogue.turns) == turns
        assert {item.name for item in dialogue.objects} <= set(classes)
        for turn in dialogue.turns:
            assert turn.kind in kinds
            assert named_class(turn.question) not in other
            assert turn.answer not in other


@pytest.mark.parametrize("name", HALVES)
def test_every_kind_of_a_half_occurs_often_enough_to_be_learned(name):
    found = get_benchmark(name).dialogues("train", count=1000)
    asked = [turn.kind for dialogue in found for turn in dialogue.turns]
    for kind in HALVES[name][1]:
        assert 0.05 < asked.count(kind) / len(asked) < 0.4, kind
    assert found[0].image.size == (224, 224)
