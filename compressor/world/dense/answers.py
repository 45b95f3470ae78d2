"""What is true: the answer to every question about a dense scene, and what "it" stands for in a chat."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compressor.world.dense import sentences
from compressor.world.dense.layout import DIRECTIONS, DISTINCT, NAMES, SIGN, SIZES
from compressor.world.dense.layout import DenseLayout as Layout
from compressor.world.dense.questions import ABOUT_ONE, FOLLOW_UPS, Question, parse
from compressor.world.dense.sentences import IT, NOTHING, SHORT_NUMBERS, THEM, Fact


@dataclass(frozen=True)
class Referents:
    """What the next "it" (a class that occurs once) and "them" (a class) of a chat stand for, or None."""

    it: str | None = None
    them: str | None = None


def resolve(question: Question, referents: Referents) -> Question | None:
    """Replaces a pronoun by the class it stands for; None if nothing was mentioned before."""
    if question.kind not in FOLLOW_UPS:
        return question
    pronoun, kind = question.kind.split(" ", 1)
    name = referents.it if pronoun == IT else referents.them
    return replace(question, kind=kind, name=name) if name else None


@dataclass(frozen=True)
class Answer:
    """A true answer as a sentence, its facts and, where it has one, its short form."""

    sentence: str
    facts: tuple[Fact, ...] = ()
    short: str = ""


def _about_one(layout: Layout, kind: str, name: str) -> tuple[Fact, str] | None:
    """The fact and short form for a question about the only object of its class."""
    item = layout.unique[name]
    if kind == "nearest":
        near = layout.nearest(item)
        return (("nearest", near.name, name), near.name) if near else None
    if kind == "same color":
        same = layout.same_color(item)
        word = same[0].name if same else NOTHING
        return (("same color", word, name), word) if len(same) < 2 else None
    word = {"color": item.color, "shape": item.shape, "size": item.size, "where": item.place}[kind]
    return (("place" if kind == "where" else kind, name, word), word) if word else None


def _compared(layout: Layout, question: Question) -> tuple[Fact, str] | None:
    """The fact and short form for a question about two objects; None where they hardly differ."""
    if not (question.name in layout.unique and question.other in layout.unique):
        return None
    one, other = layout.unique[question.name], layout.unique[question.other]
    if question.kind == "relation":
        x, y = DIRECTIONS[question.detail]
        lead = x * (one.x - other.x) + y * (one.y - other.y)
        opposite = {(-x, -y): word for word, (x, y) in DIRECTIONS.items()}[(x, y)]
        if abs(lead) < DISTINCT:
            return None
        if lead > 0:
            return ("relation", one.name, question.detail, other.name), "yes"
        return ("no relation", one.name, opposite, other.name), "no"
    order = list(SIZES)
    if not one.size or not other.size or one.size == other.size:
        return None
    small, large = sorted((one, other), key=lambda o: order.index(o.size))
    first, second = (small, large) if question.detail == "smaller" else (large, small)
    return (question.detail, first.name, second.name), first.name


def _sign(layout: Layout, color: str) -> tuple[Fact, str] | None:
    signs = [o for o in layout.objects if o.name == SIGN and color in ("", o.color)]
    subject = f"{color} {SIGN}" if color else SIGN
    return (("says", subject, signs[0].text), signs[0].text) if len(signs) == 1 else None


def _listed(layout: Layout, question: Question) -> Answer:
    where = question.detail
    found = layout.by_place.get(where, ()) if question.kind == "place" else layout.on_side(where)
    names = [item.name for item in found]
    text = sentences.say_inside(where, names)
    short = (names or [NOTHING])[0] if question.kind == "place" and len(names) < 2 else ""
    return Answer(text, tuple(sentences.facts(text).elements()), short)


def _fact(layout: Layout, question: Question) -> tuple[Fact, str] | None:
    """The one fact, and its short form, that answers a question without pronouns; None if there is none."""
    kind, name, detail = question.kind, question.name, question.detail
    if kind == "presence":
        return (("present", name), "yes") if layout.counts[name] else (("absent", name), "no")
    if kind in ("count", "color count"):
        number = layout.counts[name] if kind == "count" else layout.color_counts[detail]
        return ("count", name or detail, sentences.NUMBERS[number]), SHORT_NUMBERS[number]
    if kind in ABOUT_ONE or kind in ("sign", "color sign"):
        name = name or SIGN
        if kind == "sign" and name != SIGN:
            return None
        if layout.counts[name] != 1 and kind != "color sign":
            return ("count", name, sentences.NUMBERS[layout.counts[name]]), ""
        return _about_one(layout, kind, name) if kind in ABOUT_ONE else _sign(layout, detail)
    if kind in ("relation", "compare"):
        return _compared(layout, question)
    if kind == "ground":
        ground = layout.ground.at(detail)
        return (("ground", detail, ground), ground) if ground else None
    return None


def true_answer(layout: Layout, question: Question, subject: str = "") -> Answer | None:
    """The true answer to a question without pronouns; None where it has no single one.

    Args:
        layout: the scene.
        question: of any kind but those of ``FOLLOW_UPS``.
        subject: the pronoun that the answer says in place of the class.
    """
    if question.kind in ("unknown", "topics"):
        fact = (question.kind,)
        return Answer(sentences.say(fact), (fact,))
    if question.kind in ("place", "side"):
        return _listed(layout, question)
    if question.kind == "describe":
        text = sentences.describe(layout.by_place)
        return Answer(text, tuple(sentences.facts(text).elements()))
    if not (found := _fact(layout, question)):
        return None
    fact, short = found
    if subject:
        fact = tuple(subject if word == question.name else word for word in fact)
    return Answer(sentences.say(fact), (fact,), short)


def graded_kind(layout: Layout, question: Question, resolved: Question) -> str:
    """The kind by which an answer is graded."""
    one = resolved.kind in ABOUT_ONE or resolved.kind == "sign"
    return "premise" if one and layout.counts[resolved.name or SIGN] != 1 else question.kind


def update_referents(layout: Layout, question: Question, referents: Referents) -> Referents:
    """What "it" and "them" stand for after ``question`` was asked and truly answered."""
    resolved = resolve(question, referents)
    name = resolved.name if resolved else ""
    if resolved and resolved.kind in ("nearest", "same color", "compare", "place", "sign", "color sign"):
        answer = true_answer(layout, resolved)
        name = answer.short if answer else ""
        if resolved.kind.endswith("sign"):
            name = SIGN
    elif question.kind in FOLLOW_UPS:
        return referents
    if name not in NAMES or not layout.counts[name] or question.kind == "relation":
        return Referents()
    return Referents(it=name if name in layout.unique else None, them=name)


def answer(layout: Layout, text: str, history: Sequence[str] = ()) -> str | None:
    """The true answer to a typed question after the earlier questions of the chat, in the form asked for.

    Args:
        layout: the scene.
        text: the question as typed.
        history: the earlier questions, oldest first; they decide what a pronoun stands for.
    """
    referents = Referents()
    for earlier in history:
        referents = update_referents(layout, parse(earlier), referents)
    return reply(layout, parse(text), referents)


def reply(layout: Layout, question: Question, referents: Referents) -> str | None:
    """The true answer to a question of a chat in the form asked for; None if there is no single one."""
    resolved = resolve(question, referents)
    if resolved is None:
        return None
    subject = question.kind.split()[0] if question.kind in FOLLOW_UPS else ""
    found = true_answer(layout, resolved, {"them": THEM, "it": IT}.get(subject, ""))
    if found is None:
        return None
    return found.short if question.short and found.short else found.sentence
