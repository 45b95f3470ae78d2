"""The twelve kinds of question about a scene: how they are worded, what is true, and what "it" means."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.world.layout import CELLS, CLASSES, DIRECTIONS, NOTHING, Layout, neighbour_cell

KINDS = (
    "presence", "count", "region", "color", "relation", "where", "total", "background color",
    "background pattern", "it color", "it where", "them count",
)  # fmt: skip
BASE_KINDS, FOLLOW_UPS = KINDS[:9], KINDS[9:]
FOLLOW_UP_SHARE = 0.62  # chance of a follow-up where one is possible: makes all kinds about equally frequent
_SINGULAR = {plural: name for name, plural in CLASSES.items()}


@dataclass(frozen=True)
class Question:
    """A question taken apart: its kind, and the class, cell word or direction that it names."""

    kind: str
    name: str = ""
    direction: str = ""

    @property
    def text(self) -> str:
        name, article = self.name, "an" if self.name[:1] in "aeiou" else "a"
        side = f"{self.direction} of" if self.direction in ("left", "right") else self.direction
        return {
            "presence": f"is there {article} {name}?",
            "count": f"how many {CLASSES.get(name)} are there?",
            "region": f"what is in the {name}?",
            "color": f"what color is the {name}?",
            "relation": f"what is {side} the {name}?",
            "where": f"where is the {name}?",
            "total": "how many objects are there?",
            "background color": "what color is the background?",
            "background pattern": "what pattern is the background?",
            "it color": "what color is it?",
            "it where": "where is it?",
            "them count": "how many of them are there?",
        }[self.kind]


@dataclass(frozen=True)
class Referents:
    """What the next "it" (a class that occurs once) and "them" (a class) of a chat stand for, or None."""

    it: str | None = None
    them: str | None = None


_PATTERNS = (
    ("background color", r"what colou?r is the background"),
    ("background pattern", r"what pattern (?:is|has|does) the background(?: have)?"),
    ("it color", r"what colou?r is it"),
    ("it where", r"where is it"),
    ("them count", r"how many of them are there"),
    ("total", r"how many objects are there"),
    ("presence", r"is there an? (?P<name>\w+)"),
    ("count", r"how many (?P<plural>\w+) are there"),
    ("region", r"what is in the (?P<cell>[\w-]+(?: \w+)?)"),
    ("color", r"what colou?r is the (?P<name>\w+)"),
    ("relation", r"what is (?P<direction>left|right|above|below)(?: of)? the (?P<name>\w+)"),
    ("where", r"where is the (?P<name>\w+)"),
)


def parse(text: str) -> Question | None:
    """Takes a typed question apart; None if it is not one of the twelve kinds."""
    plain = " ".join(re.sub(r"[?.!,]", " ", text.lower()).split())
    for kind, pattern in _PATTERNS:
        if match := re.fullmatch(pattern, plain):
            found = match.groupdict()
            name = found.get("name") or _SINGULAR.get(found.get("plural", ""), "")
            if "cell" in found:
                name = found["cell"].replace(" ", "-")
            known = name in CELLS if "cell" in found else not found or name in CLASSES
            return Question(kind, name, found.get("direction", "")) if known else None
    return None


def resolve(question: Question, referents: Referents) -> Question | None:
    """Replaces a pronoun by the class it stands for; None if nothing was mentioned before."""
    if question.kind not in FOLLOW_UPS:
        return question
    name = referents.them if question.kind == "them count" else referents.it
    kind = {"it color": "color", "it where": "where", "them count": "count"}[question.kind]
    return Question(kind, name) if name else None


def true_answer(layout: Layout, question: Question) -> str | None:
    """The true answer to a question without pronouns; None where it has no single one."""
    kind, name = question.kind, question.name
    if kind == "presence":
        return "yes" if layout.counts[name] else "no"
    if kind == "count":
        return str(layout.counts[name])
    if kind == "total":
        return str(len(layout.objects))
    if kind == "background color":
        return layout.background
    if kind == "background pattern":
        return layout.pattern
    if kind == "region":
        found = layout.by_cell.get(CELLS.index(name))
        return found.name if found else NOTHING
    item = layout.unique.get(name)
    if item is None:
        return None
    if kind == "relation":
        cell = neighbour_cell(item.cell, question.direction)
        found = layout.by_cell.get(cell) if cell is not None else None
        return found.name if found else NOTHING
    return item.color if kind == "color" else item.place


def update_referents(layout: Layout, question: Question, referents: Referents) -> Referents:
    """What "it" and "them" stand for after ``question`` was asked and truly answered."""
    if question.kind in FOLLOW_UPS:
        return referents
    name: str | None = question.name
    if question.kind in ("region", "relation"):
        name = true_answer(layout, question)
    if name not in CLASSES or not layout.counts[name]:
        return Referents()
    return Referents(it=name if name in layout.unique else None, them=name)


def answer(layout: Layout, text: str, history: Sequence[str] = ()) -> str | None:
    """The true answer to a typed question after the earlier questions of the chat.

    Args:
        layout: the scene.
        text: the question as typed.
        history: the earlier questions, oldest first; they decide what a pronoun stands for.
    """
    referents = Referents()
    for earlier in history:
        asked = parse(earlier)
        referents = update_referents(layout, asked, referents) if asked else Referents()
    question = parse(text)
    resolved = resolve(question, referents) if question else None
    return true_answer(layout, resolved) if resolved else None


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))] if options else None


def _draw_class(layout: Layout, kind: str, rng: np.random.Generator, classes: Sequence[str]) -> str | None:
    """A class to ask about, so that the answers of a kind are about equally likely."""
    if kind == "presence":
        there = rng.random() < 0.5
        return _pick(rng, [c for c in classes if bool(layout.counts[c]) == there])
    if kind == "count":
        amounts = [0, 1, *[k for k in set(layout.counts.values()) if k > 1] * 2]
        amount = _pick(rng, amounts)
        return _pick(rng, [c for c in classes if layout.counts[c] == amount])
    return _pick(rng, list(layout.unique))


def _draw_base(
    layout: Layout, kind: str, rng: np.random.Generator, classes: Sequence[str]
) -> Question | None:
    if kind in ("total", "background color", "background pattern"):
        return Question(kind)
    occupied = rng.random() < 0.8
    if kind == "region":
        cells = [i for i in range(len(CELLS)) if (i in layout.by_cell) == occupied]
        return Question(kind, CELLS[_pick(rng, cells)]) if cells else None
    if kind == "relation":
        pairs = [
            (item.name, direction)
            for item in layout.unique.values()
            for direction in DIRECTIONS
            if (cell := neighbour_cell(item.cell, direction)) is not None
            and (cell in layout.by_cell) == occupied
        ]
        pair = _pick(rng, pairs)
        return Question(kind, *pair) if pair else None
    name = _draw_class(layout, kind, rng, classes)
    return Question(kind, name) if name else None


def draw_question(
    layout: Layout,
    referents: Referents,
    rng: np.random.Generator,
    kinds: Sequence[str] = KINDS,
    classes: Sequence[str] = tuple(CLASSES),
) -> Question:
    """Draws a question that has a true answer in this scene at this point of a chat.

    Args:
        layout: the scene.
        referents: what "it" and "them" stand for now.
        rng: source of all randomness.
        kinds: the kinds to draw from; must hold one that is always possible, such as "total".
        classes: the classes that may be named though they are absent from the scene.
    """
    possible = [k for k in kinds if k in FOLLOW_UPS and resolve(Question(k), referents)]
    if layout.counts[referents.them] == 1 and rng.random() < 0.6:  # else "one" would nearly always be true
        possible = [k for k in possible if k != "them count"]
    if possible and rng.random() < FOLLOW_UP_SHARE:
        return Question(_pick(rng, possible))
    base = [k for k in kinds if k in BASE_KINDS]
    while (question := _draw_base(layout, _pick(rng, base), rng, classes)) is None:
        pass
    return question
