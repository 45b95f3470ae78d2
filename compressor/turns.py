"""What a turn of a chat is: its texts and ids, what it cost, and how its answer is to be written."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from compressor.decoding import Sampling
from compressor.errors import InvalidOptionError, InvalidQuestionError

MAX_NEW_TOKENS = 4096
MAX_QUESTION_CHARACTERS = 4000


def check_question(question: str) -> None:
    """Refuses what cannot be asked.

    Raises:
        InvalidQuestionError: the question is empty or too long.
    """
    if not question.strip():
        raise InvalidQuestionError("The question is empty: type one.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidQuestionError(
            f"The question has {len(question):,} characters; shorten it to {MAX_QUESTION_CHARACTERS:,}."
        )


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
    """

    image_tokens: int
    prompt_tokens: int
    new_tokens: int
    ttft_s: float
    total_s: float
    kv_cache_bytes: int


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
    """How an answer is written; see `ChatSession.ask`."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    @classmethod
    def of(cls, options: dict[str, Any]) -> "AnswerOptions":
        """Options by name, checked.

        Raises:
            InvalidOptionError: one is unknown or out of range.
        """
        unknown = set(options) - set(cls.__dataclass_fields__)
        if unknown:
            raise InvalidOptionError(f"There is no option {', '.join(sorted(unknown))} for an answer.")
        made = cls(**options)
        if not 1 <= made.max_new_tokens <= MAX_NEW_TOKENS:
            raise InvalidOptionError(
                f"An answer has 1 to {MAX_NEW_TOKENS} tokens, not {made.max_new_tokens!r}."
            )
        if not (math.isfinite(made.temperature) and made.temperature >= 0):
            raise InvalidOptionError(f"The temperature must be 0 or more, not {made.temperature!r}.")
        if not 0 < made.top_p <= 1:
            raise InvalidOptionError(f"top_p must be above 0 and at most 1, not {made.top_p!r}.")
        return made

    def sampling(self) -> Sampling:
        """The choice of tokens, with a generator of its own."""
        generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        return Sampling(float(self.temperature), float(self.top_p), generator)
