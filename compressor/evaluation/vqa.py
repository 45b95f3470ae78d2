"""VQA accuracy: an answer is as right as the share of annotators who gave it, after both were normalised.

Source: the VQA evaluation (visualqa.org/evaluation): its normalisation and its leave-one-out average.
"""

import re
from collections.abc import Sequence

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
    for mark in PUNCTUATION:
        spaced = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if spaced or grouped else " ")
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
    """
    said = normalise(answer)
    matches = [normalise(each) == said for each in annotated]
    total = sum(matches)
    return sum(min(1.0, (total - own) / 3) for own in matches) / len(matches)
