"""An answer while its tokens are chosen: its text piece by piece, and what it costs."""

import time
from collections.abc import Callable, Iterator

from compressor.chat.prefix_cache import PrefixCache
from compressor.chat.protocol import is_complete
from compressor.chat.turns import ChatTurn, PendingQuestion, TurnStats
from compressor.models.base import VisionLanguageModel


class AnswerStream:
    """The answer to a question, from the start of its prefill to its last token.

    Args:
        model: the model.
        cache: that reads the prompt and chooses the tokens.
        question: to be answered.
    Attributes:
        ids: of the answer so far.
    """

    def __init__(self, model: VisionLanguageModel, cache: PrefixCache, question: PendingQuestion) -> None:
        self.model, self.cache, self.question = model, cache, question
        # encoding and compressing are part of the cost
        self._start = self._first_token = time.perf_counter() - question.preparation_s
        self._prompt_tokens = 0
        self.ids: list[int] = []

    def begin(self, prompt_tokens: int) -> None:
        """Take the first token, which a prefill has just chosen.

        Args:
            prompt_tokens: number of tokens that the prefill has read.
        """
        self._first_token, self._prompt_tokens = time.perf_counter(), prompt_tokens
        self.ids = [self.cache.pending]

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended by itself or reached its limit."""
        return is_complete(self.model, self.ids, self.question.limit)

    def deltas(self, is_stopped: Callable[[], bool]) -> Iterator[str]:
        """Choose tokens until the answer ends or is stopped, and yield the text that each adds.

        All ids are decoded each time, because a token's text depends on its neighbours; a text that ends
        inside a multi-byte character waits for its rest.

        Args:
            is_stopped: whether the answer is to end after its current token.
        """
        text = ""
        while True:
            longer, complete = self.model.decode(self.ids), self.is_complete
            if longer.startswith(text) and longer != text and (complete or not longer.endswith("\ufffd")):
                delta, text = longer[len(text) :], longer
                yield delta
            if complete or is_stopped():
                return
            self.ids.append(self.cache.step())

    def turn(self, image_tokens: int) -> ChatTurn:
        """The question with the answer so far, and what it cost.

        Args:
            image_tokens: m, that the language model reads.
        """
        stats = TurnStats(
            image_tokens=image_tokens,
            prompt_tokens=self._prompt_tokens,
            new_tokens=len(self.ids),
            ttft_s=self._first_token - self._start,
            total_s=time.perf_counter() - self._start,
            kv_cache_bytes=self.cache.request.cache_bytes,
            seed=self.question.options.seed,
        )
        answer, stopped = self.model.decode(self.ids), not self.is_complete
        return ChatTurn(self.question.question, answer, stats, stopped, self.question.prompt_ids, self.ids)
