"""Algorithm 2: the P of one image, optimised for the answers to a few questions about it.

P = softmax_rows(P_raw), and plain SGD on P_raw minimises L_pred + alpha L_entropy of the frozen model.
Source: MetaCompress, equation 5 and supplement 8.1.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor import options
from compressor.chat.batch import greedy_answer_ids
from compressor.errors import ContextLengthError, DivergedError, InvalidOptionError, InvalidQuestionError
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.tokens import ImageTokens
from compressor.training.objective import entropy_loss, prediction_loss
from compressor.training.teacher_forcing import Transcript, answer_ids, response_states, transcript


@dataclass(frozen=True)
class Settings:
    """How to optimise; the defaults are the paper's.

    Args:
        steps: of SGD.
        learning_rate: of SGD.
        alpha: weight of L_entropy.
        sigma: standard deviation of P_raw at the start.
        seed: of P_raw at the start.
        every: steps from one record to the next.
        max_new_tokens: length at which the model's own answers end at the latest.
    Raises:
        InvalidOptionError: one is of a wrong type or out of range.
    """

    steps: int = 500
    learning_rate: float = 10.0
    alpha: float = 1.0
    sigma: float = 0.1
    seed: int = 0
    every: int = 10
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("every", 1), ("max_new_tokens", 1)):
            options.whole_number(name, getattr(self, name), least)
        for name in ("learning_rate", "alpha", "sigma"):
            options.number(name, getattr(self, name), 0)
        options.seed("seed", self.seed)


PAPER = Settings()


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an optimisation has come.

    Args:
        step: updates so far.
        prediction: L_pred of `projection`, in nats.
        entropy: L_entropy of `projection`, in nats.
        total: L_pred + alpha L_entropy of `projection`, in nats.
        projection: P so far, on the CPU.
        seconds: computed so far, without the time between two records in which nobody asked for the next.
    """

    step: int
    prediction: float
    entropy: float
    total: float
    projection: Projection
    seconds: float


@dataclass(frozen=True, eq=False)
class Target:
    """A dialogue about an image as the uncompressed model reads it.

    Args:
        text: its ids.
        teacher: the uncompressed model's logits at the T response tokens, (T, V) float32.
    """

    text: Transcript
    teacher: Tensor


def optimize(
    model: VisionLanguageModel,
    tokens: ImageTokens,
    questions: Sequence[str],
    rate: float,
    settings: Settings = PAPER,
    answers: Sequence[str] | None = None,
) -> Iterator[Progress]:
    """Optimise the P of one image; closing the iterator ends it, and the model is never changed.

    Args:
        model: the frozen model.
        tokens: of the image, (n, d).
        questions: of the turns of one chat, at least one.
        rate: share of the tokens to remove, in [0, 1); where it removes none, P is the identity at once.
        settings: how to optimise.
        answers: the responses, one per question; None takes the uncompressed model's own greedy ones.
    Returns:
        iterator of records: of the start, of every `settings.every`-th step, and of the last.
    Raises:
        InvalidRateError, InvalidOptionError: a setting is out of range, or an answer is missing.
        InvalidQuestionError: there is no question, or an empty one.
        ContextLengthError: the dialogue does not fit into what the model can read; also while iterating.
        DivergedError: the losses are no longer finite numbers; while iterating.
    Source: MetaCompress, algorithm 2.
    """
    budget = token_budget(len(tokens), rate)
    if not questions or not all(question.strip() for question in questions):
        raise InvalidQuestionError("A question is empty: type one.")
    if answers is not None and len(answers) != len(questions):
        raise InvalidOptionError(
            f"There are {len(questions)} questions and {len(answers)} answers: give one answer per question."
        )
    prompts = [model.prompt_ids(question, first=not index) for index, question in enumerate(questions)]
    _require_room(model, len(tokens) + sum(map(len, prompts)))
    return _records(model, tokens, questions, budget, settings, answers)


# Whoever iterates may be in inference mode: the decorators lift it for the work from one record to the next.
@torch.inference_mode(False)
@torch.enable_grad()
def _records(
    model: VisionLanguageModel,
    tokens: ImageTokens,
    questions: Sequence[str],
    budget: int,
    settings: Settings,
    answers: Sequence[str] | None,
) -> Iterator[Progress]:
    started = time.perf_counter()
    if budget == len(tokens):
        identity = Projection.identity(tokens.layout)
        yield Progress(0, 0.0, 0.0, 0.0, identity, time.perf_counter() - started)
        return
    # a copy, because tokens that were made in inference mode cannot be part of a graph
    tokens = replace(tokens, embeddings=tokens.embeddings.detach().clone())
    aim = target(model, tokens.embeddings, questions, answers, settings.max_new_tokens)
    raw = initial(budget, len(tokens), settings).to(tokens.embeddings.device).requires_grad_()
    for count in range(settings.steps + 1):
        projection, prediction, entropy = losses(model, tokens, aim, raw)
        total = prediction + settings.alpha * entropy
        _require_finite(total, count)
        if count % settings.every == 0 or count == settings.steps:
            paused = time.perf_counter()
            figures = (prediction.item(), entropy.item(), total.item())
            yield Progress(count, *figures, projection.cpu(), paused - started)
            started += time.perf_counter() - paused
        if count < settings.steps:
            (gradient,) = torch.autograd.grad(total, raw)
            raw = (raw.detach() - settings.learning_rate * gradient).requires_grad_()
            _require_finite(raw, count + 1)


def initial(m: int, n: int, settings: Settings) -> Tensor:
    """P_raw at the start, (m, n) float32, the same on every device."""
    return settings.sigma * torch.randn(m, n, generator=torch.Generator().manual_seed(settings.seed))


def losses(
    model: VisionLanguageModel, tokens: ImageTokens, aim: Target, raw: Tensor
) -> tuple[Projection, Tensor, Tensor]:
    """P of P_raw (m, n), its L_pred and its L_entropy, all in the graph of P_raw."""
    projection = Projection(raw.softmax(-1), tokens.layout)
    reduced = model.compress(tokens, projection)
    (states,) = response_states(model, [reduced], [aim.text])
    logits = model.decoder.head(states).float()
    return projection, prediction_loss(aim.teacher, logits), entropy_loss(projection.weights)


@torch.no_grad()
def target(
    model: VisionLanguageModel,
    image: Tensor,
    questions: Sequence[str],
    answers: Sequence[str] | None,
    max_new_tokens: int,
) -> Target:
    """What the optimisation is to preserve, with the model's own answers where none are given.

    Args:
        model: the frozen model.
        image: all tokens, (n, d).
        questions: as of `optimize`.
        answers: as of `optimize`.
        max_new_tokens: as of the settings.
    Raises:
        ContextLengthError: it does not fit into what the model can read.
    """
    if answers is None:
        (responses,) = greedy_answer_ids(model, [image], [questions], max_new_tokens)
    else:
        responses = [answer_ids(model, answer) for answer in answers]
    text = transcript(model, questions, responses)
    _require_room(model, len(image) + len(text))
    (states,) = response_states(model, [image], [text])
    return Target(text, model.decoder.head(states).float())


def _require_room(model: VisionLanguageModel, length: int) -> None:
    if length > model.context_length:
        raise ContextLengthError(
            "The questions and answers do not fit into what this model can read beside the whole image: "
            "ask fewer or shorter questions."
        )


def _require_finite(values: Tensor, count: int) -> None:
    if not bool(torch.isfinite(values).all()):
        raise DivergedError(
            f"The optimisation left the range of numbers at step {count}: lower the learning rate."
        )
