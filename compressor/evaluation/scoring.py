"""How right an answer is, in [0, 1], by the rule of its benchmark."""

import re
from collections.abc import Callable, Sequence

from compressor.dialogues import Turn
from compressor.errors import InvalidOptionError
from compressor.evaluation.multiple_choice import chosen_letter
from compressor.world.dense.sentences import grade

Scorer = Callable[[str, Turn], float]

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'  # no apostrophe and no colon: girl's, 2:50 pm
ARTICLES = {"a", "an", "the"}
NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"}
NUMBERS |= {"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"}
# each is also known with any one of its apostrophes missing; what the evaluation leaves out is left out here
CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
    they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
    when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
    would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _with_one_apostrophe_less(word: str) -> list[str]:
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


REPAIRED = {short: word for word in CONTRACTIONS.split() for short in _with_one_apostrophe_less(word)}


def normalise(text: str) -> str:
    """An answer as the VQA evaluation compares it: lower case, without articles, numbers up to ten as digits.

    Punctuation becomes a space, or nothing where a space stands beside it or the answer holds a number such
    as 100,978; a full stop goes unless a digit follows it.
    """
    text = re.sub(r"[\n\t]", " ", text).strip()
    grouped = re.search(r"\d,\d", text) is not None
    cleaned = text
    for sign in PUNCTUATION:
        spaced = f"{sign} " in text or f" {sign}" in text
        cleaned = cleaned.replace(sign, "" if spaced or grouped else " ")
    cleaned = re.sub(r"\.(?!\d)", "", cleaned)
    words = [NUMBERS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(REPAIRED.get(word, word) for word in words if word not in ARTICLES)


def soft_accuracy(answer: str, annotated: Sequence[str]) -> float:
    """Mean over the annotators of min(1, matches among the other ones / 3).

    The versions of the published script differ in when they normalise the annotators' answers, which are
    stored almost normalised; here both sides always are.

    Args:
        answer: of the model.
        annotated: one answer per annotator, ten in VQA v2.
    Source: the VQA evaluation (visualqa.org/evaluation), its normalisation and its leave-one-out average.
    """
    normalised = normalise(answer)
    matches = [normalise(other) == normalised for other in annotated]
    total = sum(matches)
    return sum(min(1.0, (total - own) / 3) for own in matches) / len(matches)


def exact_match(prediction: str, truth: str) -> bool:
    """Whether an answer is the true one but for case, spaces and closing punctuation."""
    return _plain(prediction) == _plain(truth)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" .!?,").lower()


def _exact(answer: str, turn: Turn) -> float:
    return float(exact_match(answer, turn.answer))


def _facts(answer: str, turn: Turn) -> float:
    return grade(answer, turn.answer)


def _vqa(answer: str, turn: Turn) -> float:
    if not turn.answers:
        raise InvalidOptionError(f"VQA accuracy needs the annotators' answers to {turn.question!r}.")
    return soft_accuracy(answer, turn.answers)


def _choice(answer: str, turn: Turn) -> float:
    if not turn.options:
        raise InvalidOptionError(f"A choice needs the options of {turn.question!r}.")
    truth = chosen_letter(turn.answer, turn.options)
    return float(truth is not None and chosen_letter(answer, turn.options) == truth)


SCORERS: dict[str, Scorer] = {"exact": _exact, "facts": _facts, "vqa": _vqa, "choice": _choice}


def scorer(name: str) -> Scorer:
    """The rule of a benchmark: from an answer and its turn to a score in [0, 1].

    Args:
        name: "exact" (generated scenes, GQA), "facts" (dense scenes), "vqa" (VQA v2) or "choice" (Video-MME).
    Raises:
        InvalidOptionError: there is no such rule, or a judge grades the answers instead.
    """
    if name == "judge":
        raise InvalidOptionError("A judge grades the answers of this benchmark: name one with --judge.")
    if name not in SCORERS:
        raise InvalidOptionError(f"There is no rule {name!r}; choose one of {', '.join(SCORERS)}.")
    return SCORERS[name]
