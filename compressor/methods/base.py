"""What every method is: image tokens and a budget in, a `Projection` out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from torch import Tensor

from compressor.errors import DecidedInDecoderError, InvalidOptionError, InvalidRateError
from compressor.geometry import TokenLayout
from compressor.projection import Projection, Stage
from compressor.tokens import ImageTokens


class Method(ABC):
    """A way to turn n image tokens into m.

    Subclasses set the class attributes and implement `weights`; the identity at full budget and the check of
    the budget are done here, once for all.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    stage: ClassVar[Stage] = "embedding"
    prompt_dependent: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()
    needs_input: ClassVar[bool] = False  # whether a model alone is not enough to build it

    @classmethod
    def create(cls, model: Any, **options: Any) -> Self:
        """Build the method for a model (None where it needs none) with the options of `get_method`.

        Raises:
            InvalidOptionError: the method has no such option.
        """
        try:
            return cls(**options)
        except TypeError as error:
            raise InvalidOptionError(
                f"{cls.title} does not take these options: {', '.join(options)}."
            ) from error

    @property
    def label(self) -> str:
        """The name to show for this very instance."""
        return self.title

    def projection(self, tokens: ImageTokens, budget: int) -> Projection:
        """The P that this method uses for an image.

        Args:
            tokens: the n tokens of the image.
            budget: m, the number of tokens to leave, from 1 to n; m = n gives the identity.
        Raises:
            InvalidRateError: the budget is outside 1 to n.
        """
        n = len(tokens)
        if not 1 <= budget <= n:
            raise InvalidRateError(
                f"An image of {n} tokens can be reduced to 1 to {n} tokens, not to {budget}."
            )
        if budget == n:
            return Projection.identity(tokens.layout, self.stage, tokens.embeddings.device)
        return Projection(self.weights(tokens, budget), self.layout(tokens), self.stage, trusted=True)

    def projections(self, tokens: Sequence[ImageTokens], budgets: Sequence[int]) -> list[Projection]:
        """The P of several images, the same as one by one.

        Args:
            tokens: of each image.
            budgets: m of each.
        Raises:
            InvalidRateError: a budget is outside 1 to the image's n.
        """
        return [self.projection(each, budget) for each, budget in zip(tokens, budgets, strict=True)]

    def layout(self, tokens: ImageTokens) -> TokenLayout:
        """Of the columns of P: the image's tokens, unless a method reads others as well."""
        return tokens.layout

    @abstractmethod
    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """P, (m, n), for a budget m below n."""


class DecoderMethod(Method):
    """A method that prunes inside the language model, by what a layer's attention says about a prompt.

    Its P is known only after the first prefill, which is given `select`; then it is `ChatSession.projection`.

    Attributes:
        layer: K, the first layer that reads the kept tokens only.
        reselect: whether every turn chooses anew.
    """

    stage: ClassVar[Stage] = "decoder"
    prompt_dependent: ClassVar[bool] = True
    layer: int
    reselect: bool

    @abstractmethod
    def select(self, attention: Tensor, image_start: int, n: int, budget: int) -> Tensor:
        """The kept absolute positions, ascending.

        Args:
            attention: of the deciding token in layer K - 1, (heads, T).
            image_start, n: where the image tokens lie.
            budget: m, image tokens to keep.
        """

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """Not to be had before the language model has read a prompt.

        Raises:
            DecidedInDecoderError: always.
        """
        raise DecidedInDecoderError(
            f"{self.title} chooses inside the language model while it reads a question: ask one first."
        )
