"""How right an answer is, in [0, 1], by the rule of its benchmark."""

import re
from collections.abc import Callable

from compressor.dialogues import Turn
from compressor.errors import InvalidOptionError
from compressor.evaluation.choice import chosen_letter
from compressor.evaluation.vqa import soft_accuracy
from compressor.world.dense.sentences import grade

Scorer = Callable[[str, Turn], float]


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
        InvalidOptionError: there is no such rule, or answers are marked by a judge instead.
    """
    if name == "judge":
        raise InvalidOptionError("A judge marks the answers of this benchmark: name one with --judge.")
    if name not in SCORERS:
        raise InvalidOptionError(f"There is no rule {name!r}; choose one of {', '.join(SCORERS)}.")
    return SCORERS[name]
