"""Accuracy per turn on multi-turn dialogues, answered with the model's own history."""

import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.data.dialogues import Dialogue
from compressor.decoding import Pruning, Request, prefill, step
from compressor.errors import InvalidOptionError
from compressor.methods.base import DecoderMethod, Method
from compressor.methods.selection import Random
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.prompt_pruning import prompt_pruning
from compressor.tokens import ImageTokens

ENCODE_BATCH, ANSWER_BATCH = 25, 50  # images; dialogues


def exact_match(prediction: str, truth: str) -> bool:
    """Whether an answer is the true one but for case, spaces and closing punctuation."""
    return _plain(prediction) == _plain(truth)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip(".!?,").lower()


@dataclass(frozen=True)
class Accuracy:
    """The outcome of one method at one rate.

    Args:
        correct: (dialogues, turns) booleans.
        kinds: the kind of every question, (dialogues, turns).
        tokens: mean number of image tokens that the language model read.
    """

    method: str
    rate: float
    tokens: float
    correct: np.ndarray
    kinds: np.ndarray

    @property
    def per_turn(self) -> list[float]:
        """Acc_t for every turn, in percent."""
        return [100 * float(value) for value in self.correct.mean(0)]

    @property
    def average(self) -> float:
        """Avg, the mean of the Acc_t, in percent."""
        return 100 * float(self.correct.mean())

    @property
    def standard_error(self) -> float:
        """Of Avg, in percent; the dialogues are the independent draws."""
        return _standard_error(self.correct.mean(1))

    def per_kind(self) -> dict[str, float]:
        """Accuracy of each kind of question, in percent."""
        return {str(k): 100 * float(self.correct[self.kinds == k].mean()) for k in np.unique(self.kinds)}

    def as_data(self) -> dict:
        """A row of a results file, in percent."""
        return {
            "method": self.method,
            "rate": self.rate,
            "image_tokens": round(self.tokens, 1),
            "acc": [round(x, 2) for x in self.per_turn],
            "avg": round(self.average, 2),
            "standard_error": round(self.standard_error, 2),
            "kinds": {kind: round(x, 1) for kind, x in self.per_kind().items()},
        }


def _standard_error(values: np.ndarray) -> float:
    return 100 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def paired_difference(first: Accuracy, second: Accuracy) -> tuple[float, float]:
    """Avg of ``first`` minus Avg of ``second`` on the same dialogues, and its standard error, in percent."""
    difference = first.correct.mean(1) - second.correct.mean(1)
    return 100 * float(difference.mean()), _standard_error(difference)


def differences(results: Sequence[Accuracy], first: str, second: str) -> list[dict]:
    """Avg of one method minus another's at every rate where both were run, with the paired standard error."""
    found = []
    for result in results:
        other = next((r for r in results if r.method == second and r.rate == result.rate), None)
        if result.method == first and other is not None:
            value, error = paired_difference(result, other)
            found.append(
                {
                    "rate": result.rate,
                    "difference": f"{first} - {second}",
                    "points": round(value, 2),
                    "standard_error": round(error, 2),
                }
            )
    return found


def encode_all(
    model: VisionLanguageModel, dialogues: Sequence[Dialogue], want: frozenset[str] = frozenset()
) -> list[ImageTokens]:
    """The image tokens of every dialogue, computed once for all settings; ``want`` as of ``encode_batch``."""
    found: list[ImageTokens] = []
    for begin in range(0, len(dialogues), ENCODE_BATCH):
        found += model.encode_batch([d.image for d in dialogues[begin : begin + ENCODE_BATCH]], want)
    return found


Project = Callable[[ImageTokens, int, Dialogue], Projection]
Prune = Callable[[list[int], Tensor], Pruning]


def by_method(method: Method) -> Project | DecoderMethod:
    """A method as what ``evaluate`` asks for: it sees the tokens and the budget, never the dialogue."""
    if isinstance(method, DecoderMethod):
        return method
    return lambda tokens, budget, dialogue: method.projection(tokens, budget)


def random_per_image(tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
    """Random selection, drawn anew for every dialogue and the same in every run."""
    return Random(seed=zlib.crc32(dialogue.id.encode())).projection(tokens, budget)


@torch.inference_mode()
def answer_batch(
    model: VisionLanguageModel,
    reduced: Sequence[Tensor],
    questions: Sequence[Sequence[str]],
    max_new_tokens: int = 16,
    prune: Prune | None = None,
) -> list[list[str]]:
    """Answers many chats side by side, greedily; the tokens are those a ``ChatSession`` would read and write.

    Args:
        model: the model.
        reduced: what it reads of each image, (m, d).
        questions: the turns of each chat, as many for all.
        max_new_tokens: length at which an answer ends at the latest.
        prune: from a chat's first prompt and its image to what is pruned inside the decoder.
    """
    requests = [Request() for _ in reduced]
    answers: list[list[str]] = [[] for _ in reduced]
    for turn in range(len(questions[0])):
        embeds = []
        for request, image, asked in zip(requests, reduced, questions, strict=True):
            # the last token of the answer before has no cache entry yet
            ids = [] if request.pending is None else [request.pending]
            if ids and ids[-1] != model.eos_id:
                ids.append(model.eos_id)
            ids += model.prompt_ids(asked[turn], first=not turn)
            if prune is not None and not turn:
                request.pruning = prune(ids, image)
            embeds.append(model.embed_ids(ids, image))
        replies = [[token] for token in prefill(model.decoder, requests, embeds)]
        while open_ := [
            i for i, r in enumerate(replies) if r[-1] != model.eos_id and len(r) < max_new_tokens
        ]:
            chosen = step(model.decoder, [requests[i] for i in open_])
            for i, token in zip(open_, chosen, strict=True):
                replies[i].append(token)
        for texts, reply in zip(answers, replies, strict=True):
            texts.append(model.decode(reply))
    return answers


def evaluate(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    tokens: Sequence[ImageTokens],
    project: Project | DecoderMethod,
    rate: float,
    name: str,
) -> Accuracy:
    """Answers every dialogue greedily, each turn after the model's own earlier answers.

    Args:
        model: the model.
        dialogues: all with the same number of turns.
        tokens: of their images, from ``encode_all``.
        project: gives P for an image and a budget, or prunes inside the decoder.
        rate: share of the tokens that goes, in [0, 1).
        name: of the method, for the tables.
    """
    correct, sizes = [], []
    for begin in range(0, len(dialogues), ANSWER_BATCH):
        batch = dialogues[begin : begin + ANSWER_BATCH]
        seen = tokens[begin : begin + ANSWER_BATCH]
        reduced, prune, read = _reductions(model, batch, seen, project, rate)
        sizes += read
        questions = [[turn.question for turn in dialogue.turns] for dialogue in batch]
        for dialogue, answers in zip(
            batch, answer_batch(model, reduced, questions, prune=prune), strict=True
        ):
            pairs = zip(answers, dialogue.turns, strict=True)
            correct.append([exact_match(answer, turn.answer) for answer, turn in pairs])
    kinds = np.array([[turn.kind for turn in dialogue.turns] for dialogue in dialogues])
    return Accuracy(name, rate, float(np.mean(sizes)), np.array(correct), kinds)


def _reductions(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    tokens: Sequence[ImageTokens],
    project: Project | DecoderMethod,
    rate: float,
) -> tuple[list[Tensor], Prune | None, list[int]]:
    """What the language model is given of each image, what it prunes itself, and how many tokens stay."""
    budgets = [token_budget(len(seen), rate) for seen in tokens]
    if isinstance(project, DecoderMethod):
        if project.reselect:
            raise InvalidOptionError(
                "Evaluation prunes inside the decoder once per dialogue: leave reselect off."
            )

        def prune(ids: list[int], image: Tensor) -> Pruning:
            budget = token_budget(len(image), rate)
            return prompt_pruning(project, ids, model.image_token_id, len(image), budget)

        return [seen.embeddings for seen in tokens], prune, budgets
    with torch.no_grad():
        projections = [
            project(seen, budget, dialogue)
            for seen, budget, dialogue in zip(tokens, budgets, dialogues, strict=True)
        ]
        reduced = [model.compress(seen, p) for seen, p in zip(tokens, projections, strict=True)]
    return reduced, None, [p.m for p in projections]
