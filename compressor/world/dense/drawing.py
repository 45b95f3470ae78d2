"""Draws the questions of a chat, so that kinds are about equally frequent and no answer gives a kind away."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from compressor.dialogues import Turn
from compressor.world.dense import questions
from compressor.world.dense.answers import (
    Referents,
    graded_kind,
    reply,
    resolve,
    true_answer,
    update_referents,
)
from compressor.world.dense.layout import COLORS, NAMES, PLACES, SIDES, SIGN
from compressor.world.dense.layout import DenseLayout as Layout
from compressor.world.dense.questions import DETAILS, FOLLOW_UPS, NO_SHORT_FORM, WORDINGS, Question

FOLLOW_UP_SHARE = 0.6  # chance of a follow-up where one is possible
# how often a kind is drawn, against 1: less where a guess is often right or the answer is long
_WEIGHTS = {
    "presence": 0.4, "relation": 0.45, "compare": 0.4, "shape": 0.4, "size": 0.4, "ground": 0.5,
    "count": 0.6, "color count": 0.7, "them count": 0.5, "same color": 0.5, "nearest": 1.3, "sign": 1.5,
    "color sign": 2.0, "describe": 0.4, "topics": 0.2, "unknown": 0.4, "premise": 0.6, "it shape": 0.4,
    "it size": 0.4, "it nearest": 1.5,
}  # fmt: skip
_SUBJECTS = (
    "weather", "painter", "price", "music", "person", "dragon", "table", "window", "story", "smell", "robot",
    "temperature", "year", "language", "phone", "elephant", "spoon", "ladder", "mountain", "teacher", "river",
    "garden", "bread", "doctor", "engine", "letter", "market", "number", "pencil", "shadow", "train",
    "village",
)  # fmt: skip
_STRANGE = (
    "who painted the {}", "why is the {} here", "when was the {} made", "tell me about the {}",
    "do you like the {}", "is the {} expensive", "what does the {} think", "how old is the {}",
    "can the {} fly", "what will the {} do next", "how much does the {} cost", "write a poem about the {}",
    "what is the capital of the {}", "who are you", "what is your name", "good morning", "thank you",
    "where is the {}", "what color is the {}", "is the {} happy", "what is the {} made of", "how are you",
    "translate the {}", "what time is it", "how many people are there", "is it raining", "is this real",
    "what is a {}",
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _pick(rng: np.random.Generator, options: Sequence):
    return options[int(rng.integers(len(options)))] if options else None


def _unknown(rng: np.random.Generator) -> str:
    """A question of no kind: often about a class of the world, or a word that was never seen."""
    roll = rng.random()
    if roll < 0.35:
        word = _pick(rng, tuple(NAMES))
        strange = [text for text in _STRANGE if not text.startswith(("where is the", "what color"))]
        return _pick(rng, strange).format(word)
    if roll < 0.7:
        return _pick(rng, _STRANGE).format(_pick(rng, _SUBJECTS))
    word = "".join(_pick(rng, _LETTERS) for _ in range(int(rng.integers(3, 9))))
    return _pick(rng, _STRANGE).format(word)


def _by_value(rng: np.random.Generator, values: dict) -> str | None:
    """A key, so that every value is as likely as any other."""
    value = _pick(rng, sorted(set(values.values()), key=str))
    return _pick(rng, [key for key, given in values.items() if given == value])


def _draw_name(layout: Layout, kind: str, rng: np.random.Generator) -> str | None:
    unique = layout.unique
    if kind == "presence":
        there = bool(rng.random() < 0.5)
        return _pick(rng, [name for name in NAMES if bool(layout.counts[name]) == there])
    if kind == "count":
        return _by_value(rng, {name: layout.counts[name] for name in NAMES})
    if kind in ("shape", "size"):
        return _by_value(rng, {n: getattr(o, kind) for n, o in unique.items() if o.size})
    if kind == "same color":
        return _by_value(
            rng,
            {n: bool(layout.same_color(o)) for n, o in unique.items() if len(layout.same_color(o)) < 2},
        )
    if kind == "nearest":
        return _pick(rng, [n for n, o in unique.items() if layout.nearest(o)])
    return _pick(rng, list(unique))


def _draw_detail(layout: Layout, kind: str, rng: np.random.Generator) -> str | None:
    if kind == "color count":
        return _by_value(rng, {color: layout.color_counts[color] for color in COLORS})
    if kind == "color sign":
        colors = [o.color for o in layout.objects if o.name == SIGN]
        return _pick(rng, colors) if len(set(colors)) == 2 else None
    if kind == "place":
        filled = rng.random() < 0.85
        return _pick(rng, [place for place in PLACES if (place in layout.by_place) == filled])
    if kind == "ground":
        return _by_value(rng, {p: layout.ground.at(p) for p in PLACES if layout.ground.at(p)})
    return _pick(rng, SIDES if kind == "side" else DETAILS[kind])


def _draw_two(layout: Layout, kind: str, rng: np.random.Generator) -> Question | None:
    names = list(layout.unique)
    if len(names) < 2:
        return None
    for _ in range(20):
        one, other = (names[i] for i in rng.choice(len(names), size=2, replace=False))
        question = Question(kind, one, other, _pick(rng, DETAILS[kind]))
        if true_answer(layout, question):
            return question
    return None


def _draw_premise(layout: Layout, rng: np.random.Generator) -> Question:
    kind = _pick(rng, questions.ABOUT_ONE)
    several = [name for name in layout.counts if layout.counts[name] > 1 and name != SIGN]
    absent = [name for name in NAMES if not layout.counts[name] and name != SIGN]
    return Question(kind, _pick(rng, several if several and rng.random() < 0.5 else absent))


def _draw_base(layout: Layout, kind: str, rng: np.random.Generator) -> Question | None:
    if kind in ("describe", "topics"):
        return Question(kind)
    if kind == "unknown":
        return Question(kind, detail=_unknown(rng))
    if kind == "premise":
        return _draw_premise(layout, rng)
    if kind == "sign":
        return Question(kind) if layout.counts[SIGN] == 1 else None
    if kind in ("relation", "compare"):
        return _draw_two(layout, kind, rng)
    if kind in DETAILS:
        detail = _draw_detail(layout, kind, rng)
        return Question(kind, detail=detail) if detail else None
    name = _draw_name(layout, kind, rng)
    return Question(kind, name) if name else None


def _draw_kind(kinds: Sequence[str], rng: np.random.Generator) -> str:
    weights = np.array([_WEIGHTS.get(kind, 1.0) for kind in kinds])
    return kinds[int(np.searchsorted(np.cumsum(weights / weights.sum()), rng.random()))]


def draw_question(
    layout: Layout,
    referents: Referents,
    rng: np.random.Generator,
    kinds: Sequence[str] = questions.KINDS,
) -> Question:
    """Draws a question that has a true answer in this scene at this point of a chat, in its usual wording.

    Args:
        layout: the scene.
        referents: what "it" and "them" stand for now.
        rng: source of all randomness.
        kinds: to draw from; must hold one that is always possible, such as "presence".
    """
    possible = [k for k in kinds if k in FOLLOW_UPS and reply(layout, Question(k), referents)]
    if layout.counts[referents.them] == 1 and rng.random() < 0.6:  # else "one" would nearly always be true
        possible = [k for k in possible if k != "them count"]
    if possible and rng.random() < FOLLOW_UP_SHARE:
        return Question(_draw_kind(possible, rng))
    base = [k for k in kinds if k not in FOLLOW_UPS]
    while (question := _draw_base(layout, _draw_kind(base, rng), rng)) is None:
        pass
    return question


def draw_questions(
    layout: Layout,
    rng: np.random.Generator,
    count: int,
    kinds: Sequence[str] = questions.KINDS,
    short: Callable[[], bool] = lambda: False,
    reword: bool = False,
) -> list[tuple[Question, Question, str, str]]:
    """Draws ``count`` questions of one chat, none asked twice, pronouns resolved along the way.

    Args:
        layout: the scene.
        rng: source of all randomness.
        count: number of questions.
        kinds: to draw from.
        short: asked for every question that has a short form, whether to ask for it.
        reword: whether to draw wordings other than the usual ones, too.
    Returns:
        Each question as asked, with its pronoun resolved, its true answer, and the kind it is graded by.
    """
    referents, drawn, known = Referents(), [], set()
    for attempt in range(60 * count):
        question = draw_question(layout, referents, rng, kinds)
        resolved = resolve(question, referents)
        key = (resolved.kind, resolved.name, resolved.other, resolved.detail)
        if key in known and attempt < 59 * count:
            continue
        known.add(key)
        kind = graded_kind(layout, question, resolved)
        if kind not in NO_SHORT_FORM and true_answer(layout, resolved).short and short():
            question = replace(question, short=True)
        if reword and kind != "unknown":
            question = replace(question, wording=int(rng.integers(len(WORDINGS[question.kind]))))
        drawn.append((question, resolved, reply(layout, question, referents), kind))
        referents = update_referents(layout, question, referents)
        if len(drawn) == count:
            break
    return drawn


def draw_turns(
    layout: Layout,
    rng: np.random.Generator,
    count: int,
    kinds: Sequence[str] = questions.KINDS,
    short: bool = False,
) -> tuple[Turn, ...]:
    """As ``draw_questions``, as turns; ``short`` asks for one word wherever one word can answer."""
    drawn = draw_questions(layout, rng, count, kinds, lambda: short)
    return tuple(Turn(question.text, answer, kind) for question, _, answer, kind in drawn)
