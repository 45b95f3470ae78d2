"""A chat about one image on its reduced tokens: one compression, one cache, any number of turns.

The turns make a transcript of token ids, of which a `PrefixCache` reads what is new. So a further question, a
regenerated answer, an undo and a rebuild after new settings are one and the same thing.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

from PIL import Image
from torch import Tensor

from compressor.chat.answer_stream import AnswerStream
from compressor.chat.compression import ImageCompression
from compressor.chat.prefix_cache import PrefixCache
from compressor.chat.protocol import Ids, answer_limit, transcript_ids
from compressor.chat.turns import AnswerOptions, ChatTurn, PendingQuestion, check_question
from compressor.errors import ModelMismatchError, SessionError
from compressor.methods.base import Method
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection
from compressor.tokens import ImageTokens


class ChatSession:
    """A chat about an image.

    Args:
        model: what `load_model` gives.
        image: in any mode and size.
        method: name of a method, or a method itself.
        rate: share of the image tokens to remove, in [0, 1).
        **options: of the method.
    Attributes:
        turns: the questions and answers so far.
        compression: what method and rate make of the image.
        prefix_cache: what the language model has read of the chat.
    Raises:
        InvalidRateError, UnknownMethodError, InvalidOptionError: as their names say.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image: Image.Image,
        method: str | Method = "metacompress",
        rate: float = 0.9,
        **options: Any,
    ) -> None:
        self.model, self.prefix_cache = model, PrefixCache(model)
        self.compression = ImageCompression(model, image, method, rate, options)
        self.turns: list[ChatTurn] = []
        self._stop = threading.Event()
        self._answering = False
        self._current_ids: Ids = ()  # that decide P with the question that is being answered

    @property
    def image(self) -> Image.Image:
        """The image as it was given."""
        return self.compression.image

    @property
    def method(self) -> Method:
        """The present method."""
        return self.compression.method

    @property
    def rate(self) -> float:
        """The present compression rate: the share of the image tokens to remove."""
        return self.compression.rate

    @property
    def tokens(self) -> ImageTokens:
        """The image's n tokens; encoded once, and again only where the method needs what they lack."""
        return self.compression.tokens

    @property
    def budget(self) -> int:
        """m, the number of tokens that the rate asks for."""
        return self.compression.budget

    @property
    def prunes_in_decoder(self) -> bool:
        """Whether the language model is given all n tokens and decides itself which of them to read on."""
        return self.compression.prunes_in_decoder

    @property
    def projection(self) -> Projection:
        """The P from which the answers are computed; one per image and setting, computed when first needed.

        Raises:
            DecidedInDecoderError: the method decides while it reads a question, and has read none.
            InvalidProjectionError: the method computed a P that is none.
        """
        return self.compression.projection(self._deciding_ids)

    @property
    def image_tokens(self) -> int:
        """m: the rows of P, or what the rate asks for while P is still to be decided."""
        is_open = self._deciding_ids not in self.compression.projections and self.prunes_in_decoder
        return self.budget if is_open else self.projection.m

    @property
    def reduced(self) -> Tensor:
        """What the language model is given of the image, (m, d), or (n, d) where it prunes itself."""
        return self.compression.reduced

    def configure(
        self, method: str | Method | None = None, rate: float | None = None, **options: Any
    ) -> None:
        """Change method or rate; the transcript stays, and the next question replays it on the new tokens.

        Args:
            method: None keeps the present one.
            rate: None keeps the present one.
            **options: of the method; those of the present method stay where neither is given.
        Raises:
            InvalidRateError, UnknownMethodError, InvalidOptionError: nothing has changed then.
        """
        self._require_idle()
        compression = self.compression.with_setting(method, rate, options)
        if compression is not self.compression:
            self.compression = compression  # another object, so that a copy of this session keeps its own
            self.prefix_cache.reset()

    def ask(self, question: str, **options: Any) -> Iterator[str]:
        """Answer a question; the turn is part of `turns` once the iteration ends, however it ends.

        Args:
            question: kept as it is; nothing in it acts as a control token.
            **options: `max_new_tokens` (64), at which the answer ends at the latest; `temperature` (0.0,
                which always takes the most probable token); `top_p` (1.0), the share of probability to draw
                from; `seed` of the draw; without one, one is drawn and stands in the turn's stats.
        Returns:
            iterator of pieces of text; closing it early leaves the partial answer, marked as stopped.
        Raises:
            InvalidQuestionError: the question is empty or too long.
            ContextLengthError: it does not fit into what the model can read.
            InvalidOptionError: an option is unknown, of a wrong type or out of range.
            SessionError: another answer is being written; or, from the iterator, the chat has changed since.
            NumericalError: from the iterator, the model computes numbers that are not finite.
        """
        return self._open(question, len(self.turns), AnswerOptions.of(options))

    def regenerate(self, **options: Any) -> Iterator[str]:
        """Answer the last question again, with the options of `ask`; nothing is compressed again.

        The old answer stays until the new one has its first token.

        Raises:
            SessionError: there is no question yet; and as `ask` does.
        """
        if not self.turns:
            raise SessionError("There is no answer to write again: ask a question first.")
        return self._open(self.turns[-1].question, len(self.turns) - 1, AnswerOptions.of(options))

    def _open(self, question: str, turn: int, options: AnswerOptions) -> Iterator[str]:
        """Check a question that is to be turn number `turn`; the iterator that answers it."""
        self._require_idle()
        check_question(question)
        start = time.perf_counter()
        prompt = self.model.prompt_ids(question, first=turn == 0)
        ids = self._transcript(turn, prompt)
        limit = answer_limit(self.model, ids, len(self.reduced), options.max_new_tokens)
        self._stop.clear()
        preparation_s = time.perf_counter() - start  # includes encoding and compressing, if still to do
        basis = self._basis()
        return self._answer(PendingQuestion(question, turn, prompt, options, limit, preparation_s, basis))

    def _basis(self) -> tuple[Any, ...]:
        """What an answer depends on besides its question; it is another one once the chat has changed."""
        return [*self.turns], self.method, self.rate

    def _transcript(self, count: int, prompt: list[int]) -> list[int]:
        """The ids of the first `count` turns and of a new prompt."""
        turns = ((turn.prompt_ids, turn.answer_ids) for turn in self.turns[:count])
        return transcript_ids(self.model, turns, prompt)

    @property
    def _deciding_ids(self) -> Ids:
        """The ids that decide P: with the question that is being answered, else of the turns there are."""
        first_prompt = len(self.turns[0].prompt_ids) if self.turns else 0
        return self._current_ids or self.compression.deciding_ids(self._ids_of_questions(), first_prompt)

    def _ids_of_questions(self) -> list[int]:
        """The transcript up to the prompt of the last turn."""
        return self._transcript(len(self.turns) - 1, self.turns[-1].prompt_ids) if self.turns else []

    def _answer(self, question: PendingQuestion) -> Iterator[str]:
        self._require_idle()
        if self._basis() != question.basis:
            raise SessionError("The chat has changed after this question was asked; ask it again.")
        stream = AnswerStream(self.model, self.prefix_cache, question)
        self._answering = True
        try:
            first_prompt = self.turns[0].prompt_ids if question.turn else question.prompt_ids
            ids = self._transcript(question.turn, question.prompt_ids)
            deciding = self.compression.deciding_ids(ids, len(first_prompt))
            sampling = question.options.sampling()
            stream.begin(self.compression.prefill(self.prefix_cache, ids, deciding, sampling))
            self._current_ids = deciding
            del self.turns[question.turn :]
            try:
                yield from stream.deltas(self._stop.is_set)
            finally:
                self.turns.append(stream.turn(self.projection.m))
        finally:
            self._answering, self._current_ids = False, ()

    def undo(self) -> None:
        """Take back the last question and its answer.

        Raises:
            SessionError: there is none.
        """
        self._require_idle()
        if not self.turns:
            raise SessionError("There is nothing to take back: ask a question first.")
        self.turns.pop()
        self.compression.discard_projections(self._ids_of_questions())

    def clear(self) -> None:
        """Remove all turns, and the P that one of them decided; image, tokens and settings stay."""
        self._require_idle()
        self.turns.clear()
        self.compression.discard_projections(self._ids_of_questions())

    def release(self) -> None:
        """Free what can be computed again: the encoded and the reduced tokens, and the cache.

        Raises:
            SessionError: an answer is being written.
        """
        self._require_idle()
        self.compression.release()
        self.prefix_cache.reset()

    def stop(self) -> None:
        """Ask a running answer to end after its current token; may be called from another thread."""
        self._stop.set()

    def _require_idle(self) -> None:
        if self._answering:
            raise SessionError("An answer is still being written: stop it or wait for its end.")

    @property
    def state(self) -> dict[str, Any]:
        """All there is to this chat but cache and model, as picklable data on the CPU."""
        return {
            "model": self.model.name,
            "shown": self.model.options,
            "turns": list(self.turns),
            **self.compression.state(self._deciding_ids),
        }

    @classmethod
    def resume(cls, model: VisionLanguageModel, state: dict[str, Any]) -> "ChatSession":
        """A session that goes on where `state` was taken; nothing is compressed again.

        Args:
            model: the model that the state comes from.
            state: as `state` gave it.
        Raises:
            ModelMismatchError: the state comes from another model.
        """
        if state["model"] != model.name:
            raise ModelMismatchError(f"This chat was held with {state['model']!r}, not with {model.name!r}.")
        model = model.variant(**state["shown"])
        session = cls(model, state["image"], state["method"], state["rate"], **state["options"])
        session.turns = list(state["turns"])
        session.compression.restore(state["projections"], state["reduced"])
        return session
