"""A chat about one image on its reduced tokens: one compression, one cache, any number of turns.

The turns make a transcript of token ids, of which a `Reading` reads what is new. So a further question, a
regenerated answer, an undo and a rebuild after new settings are one and the same thing.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from compressor.chat.prefix_cache import Reading, closed_answer
from compressor.chat.prompt_pruning import prompt_pruning, pruned_projection
from compressor.chat.turns import AnswerOptions, Asked, ChatTurn, TurnStats, check_question
from compressor.decoding import Sampling
from compressor.errors import (
    ContextLengthError,
    InvalidOptionError,
    ModelMismatchError,
    SessionError,
)
from compressor.methods.base import DecoderMethod, Method
from compressor.methods.registry import get_method
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.tokens import ImageTokens

Ids = tuple[int, ...]


def _same(options: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether options are the same; a matrix is only the same as itself, as it cannot be compared by `==`."""
    return options.keys() == others.keys() and all(
        value is others[name] or (isinstance(value, str | int | float | None) and value == others[name])
        for name, value in options.items()
    )


class ChatSession:
    """A chat about an image.

    Args:
        model: what `load_model` gives.
        image: in any mode and size.
        method: name of a method, or a method itself.
        rate: share of the image tokens to remove, in [0, 1).
        options: of the method.
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
        self.model, self.image, self.reading = model, image, Reading(model)
        self.turns: list[ChatTurn] = []
        self._tokens: ImageTokens | None = None
        self._stop = threading.Event()
        self._answering = False
        self._decisive_now: Ids | None = (
            None  # the ids that decide P with the question that is being answered
        )
        self._choose(self._build(method, options), method, rate, options)

    def _build(self, method: str | Method, options: dict[str, Any]) -> Method:
        if not isinstance(method, Method):
            return get_method(method, self.model, **options)
        if options:
            raise InvalidOptionError("Options belong to a method's name; this method is already built.")
        return method

    def _choose(self, built: Method, method: str | Method, rate: float, options: dict[str, Any]) -> None:
        token_budget(1, rate)  # refuses a bad rate before anything changes
        self.method, self._setting, self.rate, self._options = built, method, rate, options
        self._projections: dict[Ids, Projection] = {}  # by the ids that decided, () where none do
        self._reduced: Tensor | None = None
        self._read_by: Ids | None = None  # the ids that decided what is in the cache
        self.reading.forget()

    def _deciding(self, ids: Sequence[int], first_prompt: int) -> Ids:
        """Those of the ids that decide P.

        Args:
            ids: of a transcript, up to its last prompt.
            first_prompt: how many of them its first prompt has.
        """
        if not isinstance(self.method, DecoderMethod):
            return ()
        return tuple(ids if self.method.reselect else ids[:first_prompt])

    @property
    def _decisive(self) -> Ids:
        """The ids that decide P: with the question that is being answered, else of the turns there are."""
        if self._decisive_now is not None:
            return self._decisive_now
        return self._deciding(self._questions(), len(self.turns[0].prompt_ids) if self.turns else 0)

    def _questions(self) -> list[int]:
        """The transcript up to the prompt of the last turn."""
        return self._transcript(len(self.turns) - 1, self.turns[-1].prompt_ids) if self.turns else []

    def _forget_gone(self) -> None:
        """Keep no P of a question that is gone."""
        ids = tuple(self._questions())
        self._projections = {key: known for key, known in self._projections.items() if key == ids[: len(key)]}

    @property
    def tokens(self) -> ImageTokens:
        """The image's n tokens; encoded once, and again only where the method needs what they lack."""
        held = frozenset() if self._tokens is None else self._tokens.extras
        if self._tokens is None or not self.method.needs <= held:
            self._tokens = self.model.encode(self.image, self.method.needs | held)
        return self._tokens

    @property
    def budget(self) -> int:
        """m, the number of tokens that the rate asks for."""
        return token_budget(len(self.tokens), self.rate)

    @property
    def prunes_in_decoder(self) -> bool:
        """Whether the language model is given all n tokens and decides itself which of them to read on."""
        return isinstance(self.method, DecoderMethod) and self.budget < len(self.tokens)

    @property
    def projection(self) -> Projection:
        """The P from which the answers are computed; one per image and setting, made when first asked for.

        Raises:
            DecidedInDecoderError: the method decides while it reads a question, and has read none.
            InvalidProjectionError: the method made a P that is none.
        """
        if self._decisive not in self._projections:
            with torch.no_grad():
                projection = self.method.projection(self.tokens, self.budget)
            projection.require_valid()  # once a chat, before anything is computed from it
            self._projections[self._decisive] = projection
        return self._projections[self._decisive]

    @property
    def image_tokens(self) -> int:
        """m: the rows of P, or what the rate asks for while P is still to be decided."""
        pending = self._decisive not in self._projections and self.prunes_in_decoder
        return self.budget if pending else self.projection.m

    @property
    def reduced(self) -> Tensor:
        """What the language model is given of the image, (m, d), or (n, d) where it prunes itself."""
        if self._reduced is None:
            with torch.no_grad():
                self._reduced = (
                    self.tokens.embeddings
                    if self.prunes_in_decoder
                    else self.model.compress(self.tokens, self.projection)
                )
        return self._reduced

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
        if method is None and not options:
            options = self._options
        method = self._setting if method is None else method
        rate = self.rate if rate is None else rate
        same = method == self._setting and _same(options, self._options)
        if not same or rate != self.rate:
            built = self.method if same else self._build(method, options)
            self._choose(built, method, rate, options)

    def ask(self, question: str, **options: Any) -> Iterator[str]:
        """Answer a question; the turn is part of `turns` once the iteration ends, however it ends.

        Args:
            question: kept as it is; nothing in it acts as a control token.
            options: `max_new_tokens` (64), at which the answer ends at the latest; `temperature` (0.0, which
                always takes the most probable token); `top_p` (1.0), the share of probability to draw from;
                `seed` of the draw; without one, one is drawn and stands in the turn's stats.
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

    def _open(self, question: str, kept: int, options: AnswerOptions) -> Iterator[str]:
        """Check a question that follows the first `kept` turns; the iterator that answers it."""
        self._require_idle()
        check_question(question)
        asked = time.perf_counter()
        prompt = self.model.prompt_ids(question, first=kept == 0)
        read = len(self._transcript(kept, prompt)) + len(self.reduced) - 1
        if read >= self.model.context_length:
            raise ContextLengthError(
                "The chat no longer fits into what this model can read: "
                "shorten the question, clear the chat, or raise the rate."
            )
        self._stop.clear()
        # encoding and compressing, if still to do, are part of the cost
        spent_s = time.perf_counter() - asked
        limit = min(options.max_new_tokens, self.model.context_length - read)
        return self._answer(Asked(question, kept, prompt, options, limit, spent_s, self._standing()))

    def _standing(self) -> tuple[Any, ...]:
        """What an answer depends on besides its question; another one is not equal to it."""
        return [*self.turns], self.method, self.rate

    def _transcript(self, kept: int, prompt: list[int]) -> list[int]:
        """Ids of the first turns and of a new prompt; the image is one id, each answer has its end token."""
        ids: list[int] = []
        for turn in self.turns[:kept]:
            ids += [*turn.prompt_ids, *closed_answer(self.model, turn.answer_ids)]
        return ids + prompt

    def _answer(self, asked: Asked) -> Iterator[str]:
        self._require_idle()
        if self._standing() != asked.standing:
            raise SessionError("The chat has changed after this question was asked; ask it again.")
        self._answering = True
        started = time.perf_counter() - asked.spent_s
        kept, prompt, limit = asked.kept, asked.prompt, asked.limit
        try:
            first_prompt = self.turns[0].prompt_ids if kept else prompt
            ids = self._transcript(kept, prompt)
            prefilled = self._prefill(ids, len(first_prompt), asked.options.sampling())
            first = time.perf_counter()
            del self.turns[kept:]
            answer_ids = [self.reading.request.pending]
            try:
                yield from self._stream(answer_ids, limit)
            finally:
                stats = TurnStats(
                    image_tokens=self.projection.m,
                    prompt_tokens=prefilled,
                    new_tokens=len(answer_ids),
                    ttft_s=first - started,
                    total_s=time.perf_counter() - started,
                    kv_cache_bytes=self.reading.request.cache_bytes,
                    seed=asked.options.seed,
                )
                stopped = not self._ended(answer_ids, limit)
                answer = self.model.decode(answer_ids)
                self.turns.append(ChatTurn(asked.question, answer, stats, stopped, prompt, answer_ids))
        finally:
            self._answering, self._decisive_now = False, None

    def _stream(self, answer_ids: list[int], limit: int) -> Iterator[str]:
        """Extend `answer_ids` until the answer ends or is stopped, and yield the text that each id adds.

        All ids are decoded each time, because a token's text depends on its neighbours; a text that ends
        inside a multi-byte character waits for its rest.
        """
        shown = ""
        while True:
            text, ended = self.model.decode(answer_ids), self._ended(answer_ids, limit)
            if text.startswith(shown) and text != shown and (ended or not text.endswith("\ufffd")):
                delta, shown = text[len(shown) :], text
                yield delta
            if ended or self._stop.is_set():
                return
            answer_ids.append(self.reading.step())

    def _ended(self, answer_ids: list[int], limit: int) -> bool:
        return answer_ids[-1] in self.model.stop_ids or len(answer_ids) >= limit

    def _prefill(self, ids: list[int], first_prompt: int, sampling: Sampling) -> int:
        """Read `ids` and choose the first token; returns how many tokens were read for it.

        Args:
            ids: the transcript with a new prompt.
            first_prompt: how many of them are the prompt of turn one.
            sampling: how the first and the next tokens are chosen.
        """
        if not self.prunes_in_decoder:
            return self.reading.prefill(ids, self.reduced, sampling)
        image_id, decisive = self.model.image_token_id, self._deciding(ids, first_prompt)
        known = self._projections.get(decisive)
        prune = partial(prompt_pruning, self.method, decisive, image_id, len(self.tokens), self.budget, known)
        read = self.reading.prefill(ids, self.reduced, sampling, prune, self._read_by != decisive)
        self._read_by = decisive
        if known is None:
            pruning = self.reading.request.pruning
            self._projections[decisive] = pruned_projection(pruning, decisive, image_id, self.tokens)
        self._decisive_now = decisive
        return read

    def undo(self) -> None:
        """Take back the last question and its answer.

        Raises:
            SessionError: there is none.
        """
        self._require_idle()
        if not self.turns:
            raise SessionError("There is nothing to take back: ask a question first.")
        self.turns.pop()
        self._forget_gone()

    def clear(self) -> None:
        """Forget all turns, and the P that one of them decided; image, tokens and settings stay."""
        self._require_idle()
        self.turns.clear()
        self._forget_gone()

    def release(self) -> None:
        """Free what can be computed again: the encoded and the reduced tokens, and the cache.

        Raises:
            SessionError: an answer is being written.
        """
        self._require_idle()
        self._tokens = self._reduced = None
        self.reading.forget()

    def stop(self) -> None:
        """Ask a running answer to end after its current token; may be called from another thread."""
        self._stop.set()

    def _require_idle(self) -> None:
        if self._answering:
            raise SessionError("An answer is still being written: stop it or wait for its end.")

    @property
    def state(self) -> dict[str, Any]:
        """All there is to this chat but cache and model, as picklable data on the CPU."""
        if not self.prunes_in_decoder:
            _ = self.projection
        return {
            "model": self.model.name,
            "shown": self.model.options,
            "image": self.image,
            "method": self._setting,
            "rate": self.rate,
            "options": dict(self._options),
            "turns": list(self.turns),
            "projections": {ids: known.cpu() for ids, known in self._projections.items()},
            "reduced": self.reduced.detach().cpu(),
        }

    @classmethod
    def resume(cls, model: VisionLanguageModel, state: dict[str, Any]) -> "ChatSession":
        """A session that goes on where `state` was taken; nothing is compressed again.

        Raises:
            ModelMismatchError: the state comes from another model.
        """
        if state["model"] != model.name:
            raise ModelMismatchError(f"This chat was held with {state['model']!r}, not with {model.name!r}.")
        model = model.variant(**state["shown"])
        session = cls(model, state["image"], state["method"], state["rate"], **state["options"])
        session.turns = list(state["turns"])
        session._projections = dict(state["projections"])
        session._reduced = state["reduced"].to(model.device, model.dtype)
        return session
