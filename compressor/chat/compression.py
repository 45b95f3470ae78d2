"""What a method and a rate make of the image of a chat: tokens, P, and what the language model is given."""

from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from compressor.chat.prefix_cache import PrefixCache
from compressor.chat.prompt_pruning import prompt_pruning, pruned_projection
from compressor.chat.protocol import Ids, deciding_ids
from compressor.decoding import Sampling
from compressor.errors import InvalidOptionError
from compressor.methods.base import DecoderMethod, Method
from compressor.methods.registry import get_method
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.tokens import ImageTokens


def _same_options(options: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether options are the same; a matrix is only the same as itself, as it cannot be compared by `==`."""
    return options.keys() == others.keys() and all(
        value is others[name] or (isinstance(value, str | int | float | None) and value == others[name])
        for name, value in options.items()
    )


def _build_method(model: VisionLanguageModel, method: str | Method, options: dict[str, Any]) -> Method:
    if not isinstance(method, Method):
        return get_method(method, model, **options)
    if options:
        raise InvalidOptionError("Options belong to a method's name; this method is already built.")
    return method


class ImageCompression:
    """An image, encoded once, and its compression by a method at a rate.

    A P is stored by the ids that decided it: those of a prompt for a method that prunes inside the decoder,
    () for all others.

    Args:
        model: that encodes and reads the image.
        image: in any mode and size.
        method: name of a method, or a method itself.
        rate: share of the image tokens to remove, in [0, 1).
        options: of the method.
    Attributes:
        method: the method itself.
        projections: every P that was computed, by the ids that decided it.
    Raises:
        InvalidRateError, UnknownMethodError, InvalidOptionError: as their names say.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        image: Image.Image,
        method: str | Method,
        rate: float,
        options: dict[str, Any],
    ) -> None:
        self.model, self.image = model, image
        self._tokens: ImageTokens | None = None
        self._set(_build_method(model, method, options), method, rate, options)

    def _set(self, built: Method, method: str | Method, rate: float, options: dict[str, Any]) -> None:
        token_budget(1, rate)  # refuses a bad rate
        self.method, self._method_choice, self.rate, self._options = built, method, rate, options
        self.projections: dict[Ids, Projection] = {}
        self._reduced: Tensor | None = None

    def with_setting(
        self, method: str | Method | None, rate: float | None, options: dict[str, Any]
    ) -> "ImageCompression":
        """The compression of the same image by another method or rate; both share the encoded tokens.

        Args:
            method: None keeps the present one.
            rate: None keeps the present one.
            options: of the method; those of the present method stay where neither is given.
        Returns:
            a new compression, or this one where the setting is the same.
        Raises:
            InvalidRateError, UnknownMethodError, InvalidOptionError: as their names say.
        """
        if method is None and not options:
            options = self._options
        method = self._method_choice if method is None else method
        rate = self.rate if rate is None else rate
        same = method == self._method_choice and _same_options(options, self._options)
        if same and rate == self.rate:
            return self
        other = copy(self)
        other._set(self.method if same else _build_method(self.model, method, options), method, rate, options)
        return other

    @property
    def tokens(self) -> ImageTokens:
        """The image's n tokens; encoded once, and again only where the method needs what they lack."""
        extras = frozenset() if self._tokens is None else self._tokens.extras
        if self._tokens is None or not self.method.needs <= extras:
            self._tokens = self.model.encode(self.image, self.method.needs | extras)
        return self._tokens

    @property
    def budget(self) -> int:
        """m, the number of tokens that the rate asks for."""
        return token_budget(len(self.tokens), self.rate)

    @property
    def prunes_in_decoder(self) -> bool:
        """Whether the language model is given all n tokens and decides itself which of them to read on."""
        return isinstance(self.method, DecoderMethod) and self.budget < len(self.tokens)

    def deciding_ids(self, ids: Sequence[int], first_prompt: int) -> Ids:
        """Those ids of a transcript that decide P; () where the image alone does.

        Args:
            ids: of the transcript, up to the end of its newest prompt.
            first_prompt: number of ids of its first prompt.
        """
        if not isinstance(self.method, DecoderMethod):
            return ()
        return deciding_ids(ids, first_prompt, self.method.reselect)

    def projection(self, ids: Ids) -> Projection:
        """The P that these ids decide; computed once.

        Args:
            ids: as `deciding_ids` gives them.
        Raises:
            DecidedInDecoderError: the language model has not read them yet.
            InvalidProjectionError: the method computed a P that is none.
        """
        if ids not in self.projections:
            with torch.no_grad():
                projection = self.method.projection(self.tokens, self.budget)
            projection.require_valid()  # once a chat, before anything is computed from it
            self.projections[ids] = projection
        return self.projections[ids]

    @property
    def reduced(self) -> Tensor:
        """What the language model is given of the image, (m, d), or (n, d) where it prunes itself."""
        if self._reduced is None:
            with torch.no_grad():
                self._reduced = (
                    self.tokens.embeddings
                    if isinstance(self.method, DecoderMethod)
                    else self.model.compress(self.tokens, self.projection(()))
                )
        return self._reduced

    def prefill(self, cache: PrefixCache, ids: Sequence[int], deciding: Ids, sampling: Sampling) -> int:
        """Read a transcript and choose the id that follows it; stores the P that the decoder decides.

        Args:
            cache: what was read of the chat; it reads the rest.
            ids: of the transcript.
            deciding: those of them that decide P.
            sampling: how this and the next ids are chosen.
        Returns:
            number of tokens that were read.
        Raises:
            NumericalError: the logits are not finite; nothing has changed then.
        """
        if not (isinstance(self.method, DecoderMethod) and self.prunes_in_decoder):
            return cache.prefill(ids, self.reduced, sampling)
        image_id, known = self.model.image_token_id, self.projections.get(deciding)
        prune = partial(prompt_pruning, self.method, deciding, image_id, len(self.tokens), self.budget, known)
        count = cache.prefill(ids, self.reduced, sampling, prune, deciding)
        if known is None:
            pruning = cache.request.pruning
            assert pruning is not None  # it is what `prune` gave when the image was read
            self.projections[deciding] = pruned_projection(pruning, deciding, image_id, self.tokens)
        return count

    def discard_projections(self, ids: Sequence[int]) -> None:
        """Discard every P that was decided by other ids than the first of a transcript.

        Args:
            ids: of the transcript.
        """
        self.projections = {
            deciding: projection
            for deciding, projection in self.projections.items()
            if deciding == tuple(ids[: len(deciding)])
        }

    def state(self, ids: Ids) -> dict[str, Any]:
        """All there is to the compression but the model, as picklable data on the CPU.

        Args:
            ids: that decide P.
        """
        if not self.prunes_in_decoder:
            self.projection(ids)  # part of the state
        return {
            "image": self.image,
            "method": self._method_choice,
            "rate": self.rate,
            "options": dict(self._options),
            "projections": {ids: projection.cpu() for ids, projection in self.projections.items()},
            "reduced": self.reduced.detach().cpu(),
        }

    def restore(self, projections: dict[Ids, Projection], reduced: Tensor) -> None:
        """Take over what an equal compression has computed.

        Args:
            projections: by the ids that decided them.
            reduced: what the language model was given of the image, on any device.
        """
        self.projections = dict(projections)
        self._reduced = reduced.to(self.model.device, self.model.dtype)

    def release(self) -> None:
        """Free what can be computed again: the encoded and the reduced tokens."""
        self._tokens = self._reduced = None
