"""What a turn of a chat is: its texts and ids, what it cost, and how its answer is to be written."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Self

import torch

from compressor import options
from compressor.decoding import Sampling
from compressor.errors import InvalidOptionError, InvalidQuestionError

MAX_NEW_TOKENS = 4096
MAX_QUESTION_CHARACTERS = 4000
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.001, 1000  # beyond them a draw is greedy, or uniform
RANDOM_SEEDS = 2**32  # a seed that was drawn is short enough to be typed


def check_question(question: str) -> None:
    """Refuse what cannot be asked.

    Args:
        question: any value.
    Raises:
        InvalidQuestionError: the question is no text, is empty or too long.
    """
    if not isinstance(question, str):
        raise InvalidQuestionError(f"A question must be text, not {options.describe(question)}.")
    if not question.strip():
        raise InvalidQuestionError("The question is empty: type one.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidQuestionError(
            f"The question has {len(question):,} characters; shorten it to {MAX_QUESTION_CHARACTERS:,}."
        )
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise InvalidQuestionError("The question contains half of a character (a surrogate); type it anew.")


@dataclass(frozen=True)
class TurnStats:
    """What a turn cost, measured.

    Args:
        image_tokens: m, image tokens the language model reads.
        prompt_tokens: tokens newly prefilled for this turn, image tokens included where they were.
        new_tokens: tokens generated, the end-of-sequence token included.
        ttft_s: seconds from the question to the first token; what was still to encode or compress is counted.
        total_s: seconds from the question to the end of the answer.
        kv_cache_bytes: keys and values in use at the end of the turn.
        seed: of the draw, given or drawn; None in turns that were stored by a version without it.
    """

    image_tokens: int
    prompt_tokens: int
    new_tokens: int
    ttft_s: float
    total_s: float
    kv_cache_bytes: int
    seed: int | None = None


@dataclass(frozen=True)
class ChatTurn:
    """A question and its answer; `stopped` says that the answer was cut short by a person."""

    question: str
    answer: str
    stats: TurnStats
    stopped: bool
    prompt_ids: list[int] = field(repr=False)
    answer_ids: list[int] = field(repr=False)


@dataclass(frozen=True)
class AnswerOptions:
    """How an answer is written; see `ChatSession.ask`.

    Raises:
        InvalidOptionError: one is of a wrong type or out of range.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = field(default_factory=lambda: secrets.randbelow(RANDOM_SEEDS))

    def __post_init__(self) -> None:
        options.whole_number("max_new_tokens", self.max_new_tokens, 1, MAX_NEW_TOKENS)
        options.number("temperature", self.temperature, 0, MAX_TEMPERATURE)
        if 0 < self.temperature < MIN_TEMPERATURE:
            raise InvalidOptionError(
                f"temperature must be 0, or a number from {MIN_TEMPERATURE} to {MAX_TEMPERATURE:,}, "
                f"not {self.temperature}."
            )
        options.number("top_p", self.top_p, 0, 1, above=True)
        options.seed("seed", self.seed)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Options by name, checked; a seed of None is one that is drawn.

        Args:
            values: by name.
        Raises:
            InvalidOptionError: one is unknown, of a wrong type or out of range.
        """
        unknown = [name for name in values if name not in cls.__dataclass_fields__]
        if unknown:
            raise InvalidOptionError(
                f"An answer has no option {unknown[0]!r}; it has {', '.join(cls.__dataclass_fields__)}."
            )
        return cls(**{name: value for name, value in values.items() if name != "seed" or value is not None})

    def sampling(self) -> Sampling:
        """The choice of tokens, with a generator of its own."""
        generator = torch.Generator().manual_seed(int(self.seed))
        return Sampling(float(self.temperature), float(self.top_p), generator)


@dataclass(frozen=True)
class PendingQuestion:
    """A question that was checked and is still to be answered.

    Args:
        question: as it was asked.
        turn: index of its turn; the turns from there on are replaced.
        prompt_ids: its ids in the model's chat template.
        options: how its answer is written.
        limit: number of tokens at which the answer ends at the latest.
        preparation_s: seconds that encoding and compressing took.
        basis: turns, method and rate of the chat it was checked in.
    """

    question: str
    turn: int
    prompt_ids: list[int]
    options: AnswerOptions
    limit: int
    preparation_s: float
    basis: tuple[Any, ...]
