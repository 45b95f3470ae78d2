"""The kinds of question about a dense scene and how they are worded."""

import re
from dataclasses import dataclass

from compressor.world.dense import sentences
from compressor.world.dense.layout import COLORS, DIRECTIONS, NAMES, PLACES, SIDES

# kind -> wordings, the first of them the usual one; {detail} is a word of DETAILS
WORDINGS: dict[str, tuple[str, ...]] = {
    "presence": ("is there {a} {name}", "do you see {a} {name}", "can you see {a} {name}"),
    "count": ("how many {plural} are there", "how many {plural} do you see", "count the {plural}"),
    "color count": ("how many {detail} objects are there", "how many objects are {detail}"),
    "color": ("what color is the {name}", "which color does the {name} have"),
    "shape": ("what shape is the {name} on", "what is the {name} on"),
    "size": ("how big is the {name}", "what size is the {name}"),
    "where": ("where is the {name}", "in which part of the picture is the {name}"),
    "place": ("what is in the {detail}", "what do you see in the {detail}"),
    "side": ("what is on the {detail} side", "what do you see on the {detail} side"),
    "relation": ("is the {name} {detail} the {other}",),
    "nearest": ("what is nearest to the {name}", "what is closest to the {name}"),
    "compare": ("which is {detail}, the {name} or the {other}",),
    "same color": (
        "what has the same color as the {name}",
        "which object has the same color as the {name}",
    ),
    "sign": ("what does the sign say", "read the sign"),
    "color sign": ("what does the {detail} sign say", "read the {detail} sign"),
    "ground": ("what is the ground in the {detail}", "what ground is in the {detail}"),
    "describe": ("describe the picture", "what is in the picture", "what do you see"),
    "topics": ("what can i ask", "what can you do", "help"),
    "it color": ("what color is it", "which color does it have"),
    "it shape": ("what shape is it on", "what is it on"),
    "it size": ("how big is it", "what size is it"),
    "it where": ("where is it", "in which part of the picture is it"),
    "it nearest": ("what is nearest to it", "what is closest to it"),
    "it sign": ("what does it say",),
    "them count": ("how many of them are there", "how many are there"),
}
DETAILS = {
    "color count": tuple(COLORS),
    "color sign": tuple(COLORS),
    "place": PLACES,
    "ground": PLACES,
    "side": SIDES,
    "relation": tuple(DIRECTIONS),
    "compare": ("smaller", "larger"),
}
FOLLOW_UPS = tuple(kind for kind in WORDINGS if kind.startswith(("it ", "them ")))
# what a dialogue is graded by; "premise" asks about an object that is not there or not the only one of its
# class, "unknown" what no kind covers
KINDS = (*WORDINGS, "premise", "unknown")
BASE_KINDS = tuple(kind for kind in KINDS if kind not in FOLLOW_UPS)
NO_SHORT_FORM = ("side", "describe", "topics", "premise", "unknown")
SHORT = "Answer in one word."
_SHORT_FORM = re.compile(r"\b(?:please )?answer (?:in|with) (?:one|a single) word\b")
_IMPERATIVES = ("count the", "read the", "describe", "help")
_ARTICLE = r"an?"
_SINGULAR = {plural: name for name, plural in NAMES.items()}
ABOUT_ONE = ("color", "shape", "size", "where", "nearest", "same color")  # need the only one of its class


@dataclass(frozen=True)
class Question:
    """A question taken apart.

    Args:
        kind: of ``KINDS``, without "premise".
        name: the first class that it names.
        other: the second class that it names.
        detail: its further word, of ``DETAILS``; the whole text of an unknown question.
        wording: index into ``WORDINGS``.
        short: whether one word is asked for.
    """

    kind: str
    name: str = ""
    other: str = ""
    detail: str = ""
    wording: int = 0
    short: bool = False

    @property
    def text(self) -> str:
        if self.kind == "unknown":
            plain = self.detail
        else:
            plain = WORDINGS[self.kind][self.wording].format(
                a=sentences.article(self.name) if self.name else "",
                name=self.name,
                plural=NAMES.get(self.name, ""),
                other=self.other,
                detail=self.detail,
            )
        end = "." if plain.startswith(_IMPERATIVES) else "?"
        return plain[:1].upper() + plain[1:] + end + (f" {SHORT}" if self.short else "")


def _pattern(kind: str, wording: str) -> re.Pattern[str]:
    fields = {
        "name": rf"(?P<name>{'|'.join(NAMES)})",
        "plural": rf"(?P<plural>{'|'.join(_SINGULAR)})",
        "other": rf"(?P<other>{'|'.join(NAMES)})",
        "detail": rf"(?P<detail>{'|'.join(DETAILS.get(kind, ()))})",
        "a": _ARTICLE,
    }
    return re.compile(wording.replace(",", "").format(**fields))


_PATTERNS = [
    (kind, index, _pattern(kind, wording))
    for kind, wordings in WORDINGS.items()
    for index, wording in enumerate(wordings)
]


def parse(text: str) -> Question:
    """Takes a typed question apart; of the kind "unknown" where no other fits."""
    plain = " ".join(re.sub(r"[?.!,]", " ", text.lower()).replace("colour", "color").split())
    plain, found = _SHORT_FORM.subn("", plain)
    plain = re.sub(r"\b(top|middle|bottom) (left|center|right)\b", r"\1-\2", plain.strip())
    plain = re.sub(r"\bthe center\b", "the middle-center", plain)
    for kind, wording, pattern in _PATTERNS:
        if match := pattern.fullmatch(plain):
            words = match.groupdict()
            name = words.get("name") or _SINGULAR.get(words.get("plural") or "", "")
            other, detail = words.get("other") or "", words.get("detail") or ""
            short = bool(found) and kind not in NO_SHORT_FORM
            return Question(kind, name, other, detail, wording, short)
    return Question("unknown", detail=plain)
