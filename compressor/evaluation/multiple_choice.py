"""Which option an answer to a multiple choice names."""

import re
from collections.abc import Mapping, Sequence

WORDS = ("A", "I")  # capital letters that are words too

_BEFORE = r"[\s*_`#>\"'“‘„«$({\[•-]*"  # Markdown, brackets and quotes that open
_AFTER = r"[*_`\"'”’»$)}\]]*"  # and that close
_VERB = r"(?:[\s*_`\"'”]*(?::|=|\b(?:is|would be|should be|will be|must be)\b))*"
_ANSWER = rf"(?i:\banswer\b{_VERB})"
_OPTION = rf"(?i:\b(?:option|choice|letter)\b{_VERB})"
_LEAD = re.compile(rf"(?i:\W*\b(?:the|my|best|correct|final)\b)*\W*{_ANSWER}")
_MARKS = re.compile(r"</?\w+>|<\|\w+\|>|\\[a-z]+(?=\{)")  # end tokens of models, \boxed
_PUNCTUATION = re.compile(r"[.:;,!?…*_`\"”»$)}\]|=/&+]|['’](?!\w)|[-–—](?!\w)|\s+[-–—(\[=:/&+]|\s*\n|\s*$")
_PART_OF_WORD = re.compile(r"\w|['’-]\w")
_LIST = rf"{_AFTER}\.?(?:\s*(?:[,;/&+]|\b(?:and|or|nor)\b))+\s*{_BEFORE}(?:{_OPTION}{_BEFORE})?"


def chosen_letter(answer: str, options: Sequence[str]) -> str | None:
    """The option that an answer to a multiple choice names, as a letter; None where it names none or several.

    A capital letter that names an option and opens the answer, or follows "answer:", "answer is" or "answer
    would be", counts where it is alone, punctuated, or followed by that option's text; letters other than A
    and I, which are words too, count whatever follows. Markdown, brackets, quotes and \\boxed{} do not
    matter. Several different letters, or only lower case, are no answer.

    The whole answer may be the text of an option instead. Where neither holds, a letter after "option" or
    "choice" counts, and then one in brackets.

    Args:
        answer: of the model.
        options: texts in order, with or without a leading letter.
    """
    texts = {
        letter: _bare(re.sub(rf"^\s*\(?{letter}[.:)]\s*", "", text))
        for letter, text in zip(map(chr, range(ord("A"), ord("A") + len(options))), options, strict=True)
    }
    said = _MARKS.sub(" ", answer)
    whole = _bare(_LEAD.sub("", said, count=1) if _LEAD.match(said) else said)
    if len(whole) > 1 and list(texts.values()).count(whole) == 1:
        return next(letter for letter, text in texts.items() if text == whole)
    one = f"([{''.join(texts)}])"
    patterns = (rf"{_OPTION}{_BEFORE}{one}\b", rf"[(\[{{][\s*_]*{one}[\s*_]*[)\]}}]")
    for letters in (_counted(said, texts, one), *(set(re.findall(pattern, said)) for pattern in patterns)):
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def _counted(said: str, texts: Mapping[str, str], one: str) -> set[str]:
    """The letters that count of those that open an answer or follow the word "answer"."""
    first, *more = re.findall(r"[^\W_]+", said) or [""]
    if more and {first, *more} <= set(texts) and _bare(" ".join(more)) != texts[first]:
        return {first, *more}
    places = [re.match(_BEFORE + one, said)]
    places += re.finditer(rf"{_ANSWER}{_BEFORE}(?:(?i:the )?{_OPTION}{_BEFORE})?{one}", said)
    letters: set[str] = set()
    for place in places:
        while place and _counts(place[1], rest := place.string[place.end() :], texts[place[1]]):
            letters.add(place[1])
            place = None if _begins(rest, texts[place[1]]) else re.match(_LIST + one, rest)
    return letters


def _counts(letter: str, rest: str, text: str) -> bool:
    """Whether a letter with the rest of an answer after it names the option with this text."""
    if _PUNCTUATION.match(rest) or _begins(rest, text) or re.match(rf"{_LIST}[A-Z]\b", rest):
        return True
    return letter not in WORDS and not _PART_OF_WORD.match(rest)


def _begins(rest: str, text: str) -> bool:
    """Whether the first sentence after a letter is the text of its option."""
    sentence = re.match(r"[^\w]*([^\n]*?)(?:[.!?,;](?=\s|$)|\n|$)", rest)
    return bool(text) and text in (_bare(rest), _bare(sentence[1] if sentence else ""))


def _bare(text: str) -> str:
    """Text without case, and without the marks around it."""
    return re.sub(r"\s+", " ", text).strip(" .!?,*_`\"'“”‘’«»$(){}[]-–—:").lower()
