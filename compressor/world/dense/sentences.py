"""The grammar of answers: from facts to a sentence and, for every sentence it makes, back to its facts.

A fact is a tuple of words that begins with its kind, such as ("color", "cat", "red"). So an answer in whole
sentences is graded by counting: right, wrong or partly right.
"""

import re
from collections import Counter
from collections.abc import Sequence

from compressor.world.dense.layout import (
    COLORS,
    DIRECTIONS,
    GROUNDS,
    NAMES,
    PLACES,
    SHAPES,
    SIDES,
    SIGN,
    SIZES,
    DenseObject,
)

Fact = tuple[str, ...]
NOTHING, IT, THEM = "nothing", "it", "them"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
           "twelve", "thirteen", "fourteen")  # fmt: skip
SHORT_NUMBERS = ("zero", *NUMBERS[1:])
TOPICS = (
    "Ask me what is in the picture, where it is, how many there are, how big, what color or shape, "
    "what is nearest, or what a sign says."
)
UNKNOWN = f"I cannot answer that. {TOPICS}"
_SINGULAR = {plural: name for name, plural in NAMES.items()}


def _one_of(words: Sequence[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_FIELDS = {
    "name": _one_of(tuple(NAMES)),
    "other": _one_of(tuple(NAMES)),
    "Subject": rf"It|The (?:{_one_of(tuple(NAMES))})",
    "Sign": rf"It|The (?:(?:{_one_of(tuple(COLORS))}) )?sign",
    "Thing": rf"Nothing|The (?:{_one_of(tuple(NAMES))})",
    "object": rf"it|the (?:{_one_of(tuple(NAMES))})",
    "color": _one_of(tuple(COLORS)),
    "shape": _one_of(tuple(SHAPES)),
    "size": _one_of(tuple(SIZES)),
    "place": _one_of(PLACES),
    "ground": _one_of(GROUNDS),
    "direction": _one_of(tuple(DIRECTIONS)),
    "text": "[A-Z][2-9][A-Z]?",
    "a": "an?",
}
# kind of fact -> how it is said; the fields are its words in order
_TEMPLATES = {
    "present": "Yes, there is {a} {name}.",
    "absent": "No, there is no {name}.",
    "color": "{Subject} is {color}.",
    "size": "{Subject} is {size}.",
    "shape": "{Subject} is on a {shape}.",
    "place": "{Subject} is in the {place}.",
    "relation": "Yes, the {name} is {direction} the {other}.",
    "no relation": "No, the {name} is {direction} the {other}.",
    "nearest": "{Thing} is nearest to {object}.",
    "smaller": "The {name} is smaller than the {other}.",
    "larger": "The {name} is larger than the {other}.",
    "same color": "{Thing} has the same color as {object}.",
    "says": "{Sign} says {text}.",
    "ground": "The ground in the {place} is {ground}.",
}


def _pattern(template: str) -> re.Pattern[str]:
    """What fits a template: its fields become groups of their names."""
    parts = re.split(r"{(\w+)}", template)  # text and field names in turn
    return re.compile(
        "".join(f"(?P<{part}>{_FIELDS[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )


_PATTERNS = {kind: _pattern(template) for kind, template in _TEMPLATES.items()}
_ARTICLED = ("Subject", "Sign", "Thing", "object")
_COUNT = re.compile(rf"There (?:is|are) ({_one_of(NUMBERS)}) (of them|[a-z]+(?: objects?)?)\.")
_INSIDE = re.compile(rf"(?:In the ({_FIELDS['place']})|On the ({_one_of(SIDES)}) side) there is (.+)\.")
_ITEM = re.compile(
    rf"an? (?P<size>{_FIELDS['size']}) (?P<name>{_FIELDS['name']}) on an? (?P<color>{_FIELDS['color']}) "
    rf"(?P<shape>{_FIELDS['shape']})"
    rf"|an? (?P<sign>{_FIELDS['color']}) sign that says (?P<text>{_FIELDS['text']})"
)


def article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def say(fact: Fact) -> str:
    """The sentence for one fact."""
    kind, words = fact[0], list(fact[1:])
    if kind == "count":
        return _say_count(*words)
    if kind == "unknown":
        return UNKNOWN
    if kind == "topics":
        return TOPICS

    def fill(match: re.Match[str]) -> str:
        field = match[1]
        if field == "a":
            return article(words[0])
        word = words.pop(0)
        if field in _ARTICLED:
            word = word if word in (IT, NOTHING) else f"the {word}"
            return word if field == "object" else word[0].upper() + word[1:]
        return word

    return re.sub(r"{(\w+)}", fill, _TEMPLATES[kind])


def _say_count(noun: str, number: str) -> str:
    one = number == "one"
    if noun == THEM:
        what = "of them"
    elif noun in COLORS:
        what = f"{noun} object" if one else f"{noun} objects"
    else:
        what = noun if one else NAMES[noun]
    return f"There {'is' if one else 'are'} {number} {what}."


def join(parts: Sequence[str]) -> str:
    """Parts of a list in words: "a cat, a dog and a key"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def say_inside(where: str, names: Sequence[str]) -> str:
    """The sentence that names what lies in a third or on a side."""
    start = f"On the {where} side" if where in SIDES else f"In the {where}"
    return f"{start} there is {join([f'{article(name)} {name}' for name in names] or [NOTHING])}."


def _say_object(item: DenseObject) -> str:
    if item.name == SIGN:
        return f"{article(item.color)} {item.color} sign that says {item.text}"
    plate = f"{article(item.color)} {item.color} {item.shape}"
    return f"{article(item.size)} {item.size} {item.name} on {plate}"


def describe(by_place: dict[str, tuple[DenseObject, ...]]) -> str:
    """One sentence for each third that has objects, with all their attributes."""
    return " ".join(
        f"In the {place} there is {join([_say_object(item) for item in items])}."
        for place, items in by_place.items()
    )


def _items(where: str, text: str) -> list[Fact]:
    found: list[Fact] = []
    for part in re.split(r", | and ", text):
        if match := _ITEM.fullmatch(part):
            name = match["name"] or SIGN
            found.append(("inside", where, name))
            attributes = (
                {"color": match["sign"], "text": match["text"]}
                if name == SIGN
                else {key: match[key] for key in ("size", "color", "shape")}
            )
            found += [("with", where, name, key, value) for key, value in attributes.items()]
        else:
            name = part.partition(" ")[2] if part != NOTHING else NOTHING
            found.append(("inside", where, name) if name in (*NAMES, NOTHING) else ("?", part))
    return found


def _sentence_facts(text: str) -> list[Fact]:
    if match := _INSIDE.fullmatch(text):
        return _items(match[1] or match[2], match[3])
    if match := _COUNT.fullmatch(text):
        noun = THEM if match[2] == "of them" else re.sub(" objects?$", "", match[2])
        return [("count", _SINGULAR.get(noun, noun), match[1])]
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(text):
            words = [
                re.sub("^(?:The|the) ", "", word) if field in _ARTICLED else word
                for field, word in match.groupdict().items()
                if field != "a"
            ]
            return [(kind, *(w.lower() if w in ("It", "Nothing") else w for w in words))]
    return [("?", text)]


def facts(text: str) -> Counter[Fact]:
    """The facts that an answer states; what the grammar does not make gives facts of the kind "?".

    A short answer, one word that is no sentence, gives one fact of the kind "short".
    """
    text = " ".join(text.split())
    for whole, kind in ((UNKNOWN, "unknown"), (TOPICS, "topics")):
        if text == whole:
            return Counter([(kind,)])
    if " " not in text:
        return Counter([("short", text.removesuffix(".").lower())])
    parts = re.findall(r"[^.]+\.?", text)  # the last may be cut off
    return Counter(fact for part in parts for fact in _sentence_facts(part.strip()))


def grade(answer: str, truth: str) -> float:
    """How right an answer is, in [0, 1]: twice the facts that both state, over the facts that either states.

    Args:
        answer: of a model.
        truth: the true answer in the same form, sentences or one word.
    """
    one, other = facts(answer), facts(truth)
    return 2 * (one & other).total() / (one.total() + other.total())
