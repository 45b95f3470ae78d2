"""Accuracy per turn on multi-turn dialogues, answered with the model's own history."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compressor.dialogues import Dialogue
from compressor.errors import InvalidOptionError, JudgeError
from compressor.evaluation.answering import BATCH, MAX_NEW_TOKENS, Answers, Setting, answer_dialogues
from compressor.evaluation.multiple_choice import chosen_letter
from compressor.evaluation.run_folder import RunFolder, process_state
from compressor.evaluation.scoring import Scorer
from compressor.models.base import VisionLanguageModel

RESAMPLES = 10_000
PERCENT = 100.0


@dataclass(frozen=True)
class Accuracy:
    """The outcome of one method at one rate.

    Args:
        method: name of the setting's method.
        rate: of the setting.
        tokens: mean number of image tokens that the language model read.
        scores: (dialogues, turns), of a dialogue all nan where a judge gave no score.
        kinds: the kind of every question, (dialogues, turns).
        unit: what a score of 1 is shown as: 100 for shares, 1 for a judge's 1 to 10.
        overall: a judge's score of each dialogue as a whole, (dialogues,).
        no_letter: number of answers to a multiple choice that name no option; None without choices.
    """

    method: str
    rate: float
    tokens: float
    scores: np.ndarray
    kinds: np.ndarray
    unit: float = PERCENT
    overall: np.ndarray | None = None
    no_letter: int | None = None

    @property
    def graded(self) -> np.ndarray:
        """Which dialogues have scores, (dialogues,) booleans; all but those that a judge left out."""
        return ~np.isnan(self.scores).any(1)

    @property
    def unscored(self) -> int:
        """Number of dialogues that no number counts."""
        return int((~self.graded).sum())

    @property
    def by_dialogue(self) -> np.ndarray:
        """Mean over the turns of each graded dialogue; these are the independent draws."""
        return self.unit * self.scores[self.graded].mean(1)

    @property
    def per_turn(self) -> list[float]:
        """Acc_t for every turn."""
        return [self.unit * float(value) for value in self.scores[self.graded].mean(0)]

    @property
    def average(self) -> float:
        """Avg, the mean of the Acc_t."""
        return float(self.by_dialogue.mean())

    @property
    def standard_error(self) -> float:
        """Of Avg."""
        return _standard_error(self.by_dialogue)

    @property
    def interval(self) -> tuple[float, float]:
        """The bootstrap 95 % interval of Avg."""
        return bootstrap_interval(self.by_dialogue)

    def per_kind(self) -> dict[str, float]:
        """The mean for each kind of question, where questions have kinds."""
        scores, kinds = self.scores[self.graded], self.kinds[self.graded]
        return {str(k): self.unit * float(scores[kinds == k].mean()) for k in np.unique(kinds) if k}

    def as_data(self, **about: Any) -> dict[str, Any]:
        """The row of a table, as plain numbers; ``about`` says of what, such as model and data."""
        row = {
            **about,
            "method": self.method,
            "rate": self.rate,
            "image_tokens": round(self.tokens, 1),
            "dialogues": int(self.graded.sum()),
            "acc": [round(value, 2) for value in self.per_turn],
            "avg": round(self.average, 2),
            "standard_error": round(self.standard_error, 2),
            "interval": [round(value, 2) for value in self.interval],
            "kinds": {kind: round(value, 1) for kind, value in self.per_kind().items()},
        }
        if self.overall is not None:
            row["overall"] = round(float(self.overall[self.graded].mean()), 2)
            row["unscored"] = self.unscored
        if self.no_letter is not None:
            row["no_letter"] = self.no_letter
        return row


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def bootstrap_interval(
    values: np.ndarray, share: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a mean.

    Args:
        values: the independent draws, (N,).
        share: of the resampled means that lies inside.
        resamples: draws of N values with replacement.
        seed: of the draws.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    rng, means = np.random.default_rng(seed), []
    block = max(1, 4_000_000 // len(values))  # resamples at once, to bound the memory
    for begin in range(0, resamples, block):
        drawn = rng.integers(len(values), size=(min(block, resamples - begin), len(values)))
        means.append(values[drawn].mean(1))
    low, high = np.quantile(np.concatenate(means), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def paired_difference(first: Accuracy, second: Accuracy) -> tuple[float, float]:
    """Avg of ``first`` minus Avg of ``second`` on the dialogues that both have, and its standard error."""
    both = first.graded & second.graded
    difference = first.unit * (first.scores[both].mean(1) - second.scores[both].mean(1))
    return float(difference.mean()), _standard_error(difference)


def differences(results: Sequence[Accuracy], first: str, second: str) -> list[dict[str, Any]]:
    """Avg of one method minus another's at every rate where both were run, with the paired standard error."""
    others = {result.rate: result for result in results if result.method == second}
    rows = []
    for result in results:
        if result.method == first and result.rate in others:
            points, error = paired_difference(result, others[result.rate])
            rows.append(
                {
                    "rate": result.rate,
                    "difference": f"{first} - {second}",
                    "points": round(points, 2),
                    "standard_error": round(error, 2),
                }
            )
    return rows


Collected = Mapping[tuple[str, str], Answers]


def collect(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    settings: Sequence[Setting],
    *,
    folder: RunFolder | None = None,
    batch: int = BATCH,
    max_new_tokens: int = MAX_NEW_TOKENS,
    progress: Callable[[int], object] = lambda count: None,
) -> Collected:
    """All answers to all dialogues under all settings, each process of a launch doing its share.

    Args:
        model: the model.
        dialogues: as of ``answer_dialogues``.
        settings: as of ``answer_dialogues``.
        folder: where answers are written; those that it holds already are not computed again.
        batch: dialogues answered side by side.
        max_new_tokens: length limit of an answer.
        progress: called with the number of further answers of this process's share.
    Returns:
        by setting and dialogue; the same for every process.
    Raises:
        InvalidOptionError: dialogues share an id or differ in turns, or settings share a name.
    """
    from accelerate.utils import gather_object

    _check(dialogues, settings)
    state = process_state()
    known = folder.read() if folder else {}
    mine = dialogues[state.process_index :: state.num_processes]
    progress(sum((setting.key, dialogue.id) in known for setting in settings for dialogue in mine))
    new: list[Answers] = []
    rounds = answer_dialogues(model, mine, settings, known=known, batch=batch, max_new_tokens=max_new_tokens)
    for answers in rounds:
        if folder:
            folder.append(state.process_index, answers)
        new += answers
        progress(len(answers))
    state.wait_for_everyone()
    return {**known, **{answers.key: answers for answers in gather_object(new)}}


def _check(dialogues: Sequence[Dialogue], settings: Sequence[Setting]) -> None:
    if not dialogues:
        raise InvalidOptionError("There is no dialogue to answer: ask for at least one.")
    if len({dialogue.id for dialogue in dialogues}) < len(dialogues):
        raise InvalidOptionError(
            "Two dialogues have the same id, so their answers could not be distinguished; give each its own."
        )
    if len({len(dialogue.turns) for dialogue in dialogues}) > 1:
        raise InvalidOptionError("The dialogues differ in their number of turns: evaluate them apart.")
    if len({(setting.method, setting.rate) for setting in settings}) < len(settings):
        raise InvalidOptionError("Two settings have the same name and rate: name each once.")


def graded(dialogues: Sequence[Dialogue], setting: Setting, collected: Collected, score: Scorer) -> Accuracy:
    """The accuracy of one setting, its answers graded by a rule of ``scoring.scorer``."""
    scores = [
        [score(text, turn) for text, turn in zip(answers.texts, dialogue.turns, strict=True)]
        for dialogue, answers in _of(dialogues, setting, collected)
    ]
    chosen = [
        chosen_letter(text, turn.options)
        for dialogue, answers in _of(dialogues, setting, collected)
        for text, turn in zip(answers.texts, dialogue.turns, strict=True)
        if turn.options
    ]
    no_letter = chosen.count(None) if chosen else None
    return _accuracy(dialogues, setting, collected, np.array(scores), no_letter=no_letter)


def judged(
    dialogues: Sequence[Dialogue],
    setting: Setting,
    collected: Collected,
    grades: Mapping[tuple[str, str], Sequence[int] | None],
) -> Accuracy:
    """The scores of one setting, its answers graded by a judge.

    Args:
        dialogues: that were answered.
        setting: whose answers are scored.
        collected: answers as of `collect`.
        grades: from ``judge.grade``: one score per turn and one overall, or None.
    Raises:
        JudgeError: the judge has graded no dialogue.
    """
    width = len(dialogues[0].turns) + 1
    rows = [grades[setting.key, dialogue.id] or [math.nan] * width for dialogue in dialogues]
    scores = np.array(rows, dtype=float)
    if np.isnan(scores).all():
        raise JudgeError(f"The judge has graded no answer of {setting.method!r}: choose a stronger model.")
    return _accuracy(dialogues, setting, collected, scores[:, :-1], unit=1.0, overall=scores[:, -1])


def _of(
    dialogues: Sequence[Dialogue], setting: Setting, collected: Collected
) -> list[tuple[Dialogue, Answers]]:
    return [(dialogue, collected[setting.key, dialogue.id]) for dialogue in dialogues]


def _accuracy(
    dialogues: Sequence[Dialogue], setting: Setting, collected: Collected, scores: np.ndarray, **more: Any
) -> Accuracy:
    tokens = np.mean([answers.image_tokens for _, answers in _of(dialogues, setting, collected)])
    kinds = np.array([[turn.kind for turn in dialogue.turns] for dialogue in dialogues])
    return Accuracy(setting.method, setting.rate, float(tokens), scores, kinds, **more)


def evaluate(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    settings: Sequence[Setting],
    score: Scorer,
    **options: Any,
) -> list[Accuracy]:
    """Answers all dialogues under all settings and grades them; ``options`` are those of ``collect``."""
    collected = collect(model, dialogues, settings, **options)
    return [graded(dialogues, setting, collected, score) for setting in settings]
