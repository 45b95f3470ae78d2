"""The texts of the language stage: several chats about one picture, side by side in one sequence.

Each chat is a segment that sees the picture and itself only, and is positioned right after the picture. So
one read of the picture serves some twenty questions, and no answer can be copied from another chat. The words
on which a question turns carry targets for the heads: what must be looked up on the way to the answer.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from compressor.training.bundled.small.model import ASSISTANT, USER, build_tokenizer, vocabulary
from compressor.training.bundled.small.patches import GROUPS, IGNORE
from compressor.world.dense import drawing, questions
from compressor.world.dense.layout import (
    COLUMNS,
    DISTINCT,
    NAMES,
    SIGN,
    SIZES,
    DenseLayout,
    DenseObject,
)
from compressor.world.dense.questions import Question
from compressor.world.dense.sentences import IT, THEM

WORD_IDS = {word: index for index, word in enumerate(vocabulary())}
CONTENTS = {word: index for index, word in enumerate(GROUPS["class"])}
ATTRIBUTES = ("row", "column", "color", "shape", "size", "first", "digit", "last")
# head -> (decoder layers that have run, number of classes)
HEADS = {
    **{name: (3 if name in ("first", "digit", "last") else 2, len(GROUPS[name])) for name in ATTRIBUTES},
    "count": (2, 5),
    "color count": (3, 8),
    "ground": (3, len(GROUPS["ground"])),
    "lead x": (4, 3),
    "lead y": (4, 3),
    "order": (4, 3),
    "nearest": (4, len(CONTENTS)),
    "same color": (4, len(CONTENTS)),
    "it class": (3, len(CONTENTS)),
    **{f"it {name}": (4, len(GROUPS[name])) for name in ATTRIBUTES},
    "it count": (4, 5),
    "it nearest": (5, len(CONTENTS)),
}
# what is learned last is asked more often
KINDS = (*questions.KINDS, "place", "place", "place", "nearest", "it nearest", "color count", "relation")
INSIDE_LAYER = 3  # the head for all classes in a named third or on a named side


@dataclass
class Packed:
    """A text of many chats.

    Args:
        ids: tokens, (L,).
        labels: of the next token where it is part of an answer, else IGNORE, (L,).
        segments: the chat of each token, (L,).
        positions: the place of each token in its chat, (L,).
        heads: head -> place in the text -> target.
        inside: place in the text -> indices of the classes in the third or on the side named there.
        answers: kind, first and last label of each answer.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    heads: dict[str, dict[int, int]] = field(default_factory=lambda: {name: {} for name in HEADS})
    inside: dict[int, list[int]] = field(default_factory=dict)
    answers: list[tuple[str, int, int]] = field(default_factory=list)


@lru_cache(maxsize=1)
def _tokenizer():
    return build_tokenizer()


@lru_cache(maxsize=200_000)
def _tokenize(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer()(text, add_special_tokens=False)["input_ids"])


def question_ids(text: str) -> tuple[int, ...]:
    """A question as the chat template puts it, but for "user:" before it."""
    return _tokenize(f"{USER} {text} {ASSISTANT}")[1:]


def answer_ids(text: str) -> tuple[int, ...]:
    """An answer and the end token."""
    return (*_tokenize(f"{ASSISTANT} {text}")[1:], WORD_IDS["</s>"])


def _of_object(item: DenseObject) -> dict[str, int]:
    words = {"row": item.place.split("-")[0], "column": f"##-{COLUMNS[item.column]}", "color": item.color}
    if item.text:
        letters = [f"##{letter}" for letter in item.text[1:]] + ["."]
        words |= {"first": item.text[0], "digit": letters[0], "last": letters[1]}
    else:
        words |= {"shape": item.shape, "size": item.size}
    return {name: GROUPS[name].index(word) for name, word in words.items()}


def _about(layout: DenseLayout, resolved: Question) -> dict[str, int]:
    """What must be looked up of the class that a question names."""
    targets = {"count": min(layout.counts[resolved.name], 4)}
    if item := layout.unique.get(resolved.name):
        targets |= _of_object(item)
        if resolved.kind == "nearest" and (near := layout.nearest(item)):
            targets["nearest"] = CONTENTS[near.name]
        if resolved.kind == "same color" and len(same := layout.same_color(item)) < 2:
            targets["same color"] = CONTENTS[same[0].name if same else "nothing"]
    return targets


def _compared(one: DenseObject, other: DenseObject) -> dict[str, int]:
    leads = {"lead x": one.x - other.x, "lead y": one.y - other.y}
    targets = {name: 1 + int(lead >= DISTINCT) - int(lead <= -DISTINCT) for name, lead in leads.items()}
    if one.size and other.size:
        order = list(SIZES)
        targets["order"] = 1 + int(np.sign(order.index(one.size) - order.index(other.size)))
    return targets


def lookups(layout: DenseLayout, question: Question, resolved: Question) -> list[tuple[str, dict[str, int]]]:
    """The words on which a question turns, and the targets of the heads there."""
    kind = question.kind
    if kind in questions.FOLLOW_UPS:
        targets = {"class": CONTENTS[resolved.name], **_about(layout, resolved)}
        targets = {f"it {name}": target for name, target in targets.items() if f"it {name}" in HEADS}
        return [(THEM if kind == "them count" else IT, targets)]
    if kind in ("relation", "compare"):
        one, other = layout.unique[question.name], layout.unique[question.other]
        return [
            (question.name, _of_object(one)),
            (question.other, _of_object(other) | _compared(one, other)),
        ]
    if kind in ("sign", "color sign"):
        signs = [o for o in layout.objects if o.name == SIGN and question.detail in ("", o.color)]
        return [(SIGN, _of_object(signs[0]))] if len(signs) == 1 else []
    if kind == "color count":
        return [(question.detail, {"color count": min(layout.color_counts[question.detail], 7)})]
    if kind == "ground":
        column = f"##-{question.detail.split('-')[1]}"
        return [(column, {"ground": GROUPS["ground"].index(layout.ground.at(question.detail))})]
    if question.name:
        word = NAMES[question.name] if kind == "count" else question.name
        return [(word, _about(layout, resolved))]
    return []


def _inside(layout: DenseLayout, question: Question) -> tuple[str, list[int]] | None:
    """The word that names a third or a side, and what lies there."""
    if question.kind == "place":
        items = layout.by_place.get(question.detail, ())
        word = f"##-{question.detail.split('-')[1]}"
    elif question.kind == "side":
        items, word = layout.on_side(question.detail), question.detail
    else:
        return None
    return word, sorted({CONTENTS[item.name] for item in items}) or [CONTENTS["nothing"]]


def _add_chat(
    packed: Packed, layout: DenseLayout, rng: np.random.Generator, turns: int, segment: int
) -> None:
    drawn = drawing.draw_questions(layout, rng, turns, KINDS, short=lambda: rng.random() < 0.5, reword=True)
    begin = len(packed.ids)
    for index, (question, resolved, answer, kind) in enumerate(drawn):
        if index:
            packed.ids.append(WORD_IDS[USER])
        asked, replied = question_ids(question.text), answer_ids(answer)
        start = len(packed.ids)
        for word, targets in lookups(layout, question, resolved):
            if WORD_IDS[word] in asked:  # "how many are there" has no pronoun
                at = start + asked.index(WORD_IDS[word])
                for head, target in targets.items():
                    packed.heads[head][at] = target
        if inside := _inside(layout, question):
            packed.inside[start + asked.index(WORD_IDS[inside[0]])] = inside[1]
        packed.ids += [*asked, *replied]
        first = start + len(asked) - 1
        packed.labels += [IGNORE] * (first - len(packed.labels)) + list(replied)
        packed.answers.append((kind, first, first + len(replied) - 1))
    packed.labels += [IGNORE] * (len(packed.ids) - len(packed.labels))
    packed.segments += [segment] * (len(packed.ids) - begin)
    packed.positions += range(len(packed.ids) - begin)


def pack(layout: DenseLayout, rng: np.random.Generator, length: int) -> Packed:
    """Draws chats of one to five turns about a scene until there are ``length`` tokens or more."""
    packed, segment = Packed(), 0
    while len(packed.ids) < length:
        segment += 1
        _add_chat(packed, layout, rng, int(rng.integers(1, 6)), segment)
    return packed


@dataclass
class Batch:
    """Texts padded at the right: (B, L) each; ``inside``: row, place and classes of each third or side."""

    ids: Tensor
    labels: Tensor
    segments: Tensor
    positions: Tensor
    heads: dict[str, Tensor]
    inside: list[tuple[int, int, list[int]]]


def collate(texts: list[Packed]) -> Batch:
    """Puts texts together; padding is the segment 0."""
    length = max(len(text.ids) for text in texts)

    def padded(name: str, fill: int) -> Tensor:
        rows = [getattr(text, name) for text in texts]
        return torch.tensor([row + [fill] * (length - len(row)) for row in rows])

    heads = {name: torch.full((len(texts), length), IGNORE) for name in HEADS}
    for row, text in enumerate(texts):
        for name, targets in text.heads.items():
            for at, target in targets.items():
                heads[name][row, at] = target
    inside = [(row, at, classes) for row, text in enumerate(texts) for at, classes in text.inside.items()]
    return Batch(
        padded("ids", WORD_IDS["<pad>"]),
        padded("labels", IGNORE),
        padded("segments", 0),
        padded("positions", 0),
        heads,
        inside,
    )
