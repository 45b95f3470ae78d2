"""From single questions about images to dialogues of several turns: the rule for benchmarks read from files.

1. The questions of one image are put into a drawn order: by the SHA-256 of "<seed> <question id>".
2. They are cut, in that order, into groups of ``turns``; the rest (number of questions modulo ``turns``) is
   dropped. An image with k questions gives floor(k / turns) dialogues; a file, the sum over its images.
3. The dialogues come in rounds: the first group of every image, then the second of every image that has one,
   and so on; within a round the images are in a drawn order as in 1. So the first ``count`` dialogues show as
   many different images as there are, and are the beginning of those of any larger count.

Nothing depends on the order of a file, on Python's hash, on a random generator or on the platform. The paper
groups questions of an image in threes and does not say how; this rule is ours.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from PIL import Image

from compressor.dialogues import Dialogue, Turn


@dataclass(frozen=True)
class Group:
    """The questions of one dialogue: ids in the order of the turns, their image, and an id of the group."""

    id: str
    image: str
    questions: tuple[str, ...]


def drawn_order(keys: Iterable[str], seed: int) -> list[str]:
    """The keys in an order that depends on them and on ``seed`` alone."""

    def drawn(key: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogatepass")).digest(), key

    return sorted(keys, key=drawn)


def groups(image_of: Mapping[str, str], turns: int, seed: int = 0) -> Iterator[Group]:
    """Groups questions by the rule at the top of this module.

    Args:
        image_of: from the id of a question to the id of its image.
        turns: questions per group.
        seed: of both orders.
    """
    asked: dict[str, list[str]] = {}
    for question, image in image_of.items():
        asked.setdefault(image, []).append(question)
    images = drawn_order((image for image, found in asked.items() if len(found) >= turns), seed)
    ordered = {image: drawn_order(asked[image], seed) for image in images}
    rounds = max((len(found) // turns for found in ordered.values()), default=0)
    for begin in range(0, rounds * turns, turns):
        for image in images:
            chosen = tuple(ordered[image][begin : begin + turns])
            if len(chosen) == turns:
                yield Group(f"{image}-{begin // turns + 1}", image, chosen)


def grouped_dialogues(
    image_of: Mapping[str, str],
    turn_of: Callable[[str], Turn],
    loader_of: Callable[[str], Callable[[], Image.Image]],
    *,
    count: int | None,
    seed: int,
    turns: int,
) -> list[Dialogue]:
    """The first ``count`` dialogues; only their questions and images are looked at.

    Args:
        image_of: from the id of a question to the id of its image.
        turn_of: from the id of a question to the turn that asks it.
        loader_of: from the id of an image to what loads it.
        count: how many at most; None for all.
        seed: of the grouping.
        turns: questions per dialogue.
    """
    return [
        Dialogue(loader_of(group.image), tuple(map(turn_of, group.questions)), id=group.id)
        for group in islice(groups(image_of, turns, seed), count)
    ]
