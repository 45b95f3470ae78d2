"""The benchmarks by name: the generated world, its two halves, and those read from files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from compressor.data import convbench, gqa, video_mme, vqa_v2
from compressor.dialogues import Dialogue
from compressor.errors import DataError, UnknownBenchmarkError
from compressor.world import dense_scenes, scenes
from compressor.world.layout import CLASSES
from compressor.world.questions import KINDS

Read = Callable[
    ..., list[Dialogue]
]  # of split, count, folder, seed, turns, and left_out where that is offered

SCENES = 500  # dialogues of the generated world where no number is asked for
SCENES_PER_SEED = 1_000_000
SEEDS = (scenes.HELD_OUT - scenes.FIRST_TRAINING) // SCENES_PER_SEED

# Two worlds for a transfer study. They share no class of object and no kind of question; each has questions
# about an object, about the whole picture and with a pronoun, and some that are possible in every scene, as
# drawing requires.
CLASSES_A, CLASSES_B = tuple(CLASSES)[::2], tuple(CLASSES)[1::2]
KINDS_A = ("presence", "color", "relation", "total", "background color", "it color")
KINDS_B = ("count", "region", "where", "background pattern", "it where", "them count")


@dataclass(frozen=True)
class Benchmark:
    """A source of dialogues, and how answers to them are scored.

    Args:
        name: as it is asked for; title: as it is printed.
        scorer: exact match, share of the facts, VQA soft accuracy, letter of a choice, or a judge's 1 to 10.
        max_new_tokens: length at which an answer ends at the latest.
        needs_folder: whether it is read from files that the user has.
        splits: those it has.
        read: what gives the dialogues.
        may_leave_out: whether dialogues whose picture is missing can be left out.
    """

    name: str
    title: str
    scorer: Literal["exact", "facts", "vqa", "choice", "judge"]
    max_new_tokens: int
    needs_folder: bool
    splits: tuple[str, ...]
    read: Read = field(repr=False)
    may_leave_out: bool = False

    def dialogues(
        self,
        split: str,
        count: int | None = None,
        folder: Path | None = None,
        seed: int = 0,
        turns: int = 3,
        left_out: Callable[[str], object] | None = None,
    ) -> list[Dialogue]:
        """The first dialogues of a split, the same ones in every run; no picture is loaded yet.

        Args:
            split: one of ``splits``.
            count: how many at most; None for all that the files give, and 500 of the generated world.
            folder: the files, in the layout that the module of the benchmark describes.
            seed: of the grouping and the order, see ``grouping``; in a generated world, which million of
                scenes.
            turns: questions per dialogue.
            left_out: takes the id of each dialogue that is left out because its picture is missing; None
                makes a missing picture an error.

        Raises:
            DataError: there is no such split or folder, files are missing, malformed or hold no dialogue, or
                this benchmark leaves no dialogue out.
        """
        if split not in self.splits:
            raise DataError(f"{self.title} has no split {split!r}; it has {' and '.join(self.splits)}.")
        if turns < 1 or (count is not None and count < 1):
            raise DataError(f"Ask for at least one dialogue of one turn, not {count} of {turns}.")
        if self.needs_folder and folder is None:
            raise DataError(f"{self.title} is read from files that you have; name the folder they are in.")
        if self.needs_folder and not Path(folder).is_dir():
            raise DataError(f"There is no folder {folder}; name the one that holds {self.title}.")
        if left_out and not self.may_leave_out:
            raise DataError(f"Of {self.title} no picture may be missing: leave --skip-missing out.")
        more = {"left_out": left_out} if left_out else {}
        found = self.read(split, count, Path(folder) if self.needs_folder else None, seed, turns, **more)
        if not found:
            raise DataError(
                f"{folder} holds no dialogue of {turns} turns of {self.title}; ask for fewer turns."
            )
        return found


def _scene_seeds(first: int, millions: int, count: int | None, seed: int) -> range:
    """The seeds of ``count`` scenes of the ``seed``-th million after ``first``."""
    count = SCENES if count is None else count
    if not 0 <= seed < millions or count > SCENES_PER_SEED:
        raise DataError(
            f"There are {SCENES_PER_SEED} scenes for each seed from 0 to {millions - 1}, "
            f"not {count} for {seed}."
        )
    begin = first + seed * SCENES_PER_SEED
    return range(begin, begin + count)


def _scenes(
    kinds: tuple[str, ...],
    classes: tuple[str, ...],
    split: str,
    count: int | None,
    folder: Path | None,
    seed: int,
    turns: int,
) -> list[Dialogue]:
    first = scenes.FIRST_TRAINING if split == "train" else scenes.HELD_OUT
    seeds = _scene_seeds(first, SEEDS, count, seed)
    return [scenes.dialogue(number, turns, kinds, classes) for number in seeds]


def _dense_scenes(
    split: str, count: int | None, folder: Path | None, seed: int, turns: int
) -> list[Dialogue]:
    first, end = {
        "train": (dense_scenes.FIRST_TRAINING, dense_scenes.CHOOSING),
        "choosing": (dense_scenes.CHOOSING, dense_scenes.HELD_OUT),
        "validation": (dense_scenes.HELD_OUT, 2 * dense_scenes.HELD_OUT),
    }[split]
    seeds = _scene_seeds(first, (end - first) // SCENES_PER_SEED, count, seed)
    return [dense_scenes.dialogue(number, turns) for number in seeds]


_BOTH = ("train", "validation")
_BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("scenes", "Scenes", "exact", 16, False, _BOTH, partial(_scenes, KINDS, tuple(CLASSES))),
        Benchmark("scenes-a", "Scenes A", "exact", 16, False, _BOTH, partial(_scenes, KINDS_A, CLASSES_A)),
        Benchmark("scenes-b", "Scenes B", "exact", 16, False, _BOTH, partial(_scenes, KINDS_B, CLASSES_B)),
        Benchmark(
            "dense-scenes",
            "Dense scenes",
            "facts",
            256,
            False,
            ("train", "choosing", "validation"),
            _dense_scenes,
        ),
        Benchmark("gqa", "MT-GQA", "exact", 16, True, _BOTH, gqa.dialogues),
        Benchmark("vqa-v2", "MT-VQA-v2", "vqa", 16, True, _BOTH, vqa_v2.dialogues),
        Benchmark("convbench", "ConvBench", "judge", 512, True, ("validation",), convbench.dialogues, True),
        Benchmark("video-mme", "MT-Video-MME", "choice", 16, True, ("validation",), video_mme.dialogues),
    )
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark with this name.

    Raises:
        UnknownBenchmarkError: there is none; it lists those there are.
    """
    if name not in _BENCHMARKS:
        raise UnknownBenchmarkError(f"There is no benchmark {name!r}; choose among {', '.join(_BENCHMARKS)}.")
    return _BENCHMARKS[name]


def list_benchmarks() -> list[Benchmark]:
    """All benchmarks, the generated ones first."""
    return list(_BENCHMARKS.values())
