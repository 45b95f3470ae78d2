"""What every method is: image tokens and a budget in, a `Projection` out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from compressor.errors import DecidedInDecoderError, InvalidOptionError, InvalidRateError
from compressor.geometry import TokenLayout, join_layouts
from compressor.projection import Projection, Stage
from compressor.tokens import ImageTokens


class Method(ABC):
    """A way to turn n image tokens into m.

    Subclasses set the class attributes and implement `weights`; the identity at full budget and the check of
    the budget are done here, once for all.
    """

    name: str
    title: str
    description: str
    stage: ClassVar[Stage] = "embedding"
    prompt_dependent: ClassVar[bool] = False
    needs: frozenset[str] = frozenset()  # of some methods, an option decides
    needs_input: ClassVar[bool] = False  # whether a model alone is not enough to build it

    @classmethod
    def create(cls, model: Any, **options: Any) -> Self:
        """Build the method for a model with the options of `get_method`.

        Args:
            model: what `load_model` gives; None where the method needs none.
            **options: of the method.
        Raises:
            InvalidOptionError: the method has no such option, or a value is of a wrong type or out of range.
        """
        cls.require_options(options)
        return cls(**options)

    @classmethod
    def option_names(cls) -> list[str]:
        """The options of `get_method`: what the constructor takes."""
        return list(signature(cls).parameters)

    @classmethod
    def require_options(cls, options: Mapping[str, object]) -> None:
        """Refuse options that the method does not have; the constructor checks their values.

        Args:
            options: by name.
        Raises:
            InvalidOptionError: there is one.
        """
        names = cls.option_names()
        unknown = [name for name in options if name not in names]
        if unknown:
            choices = f"it has {', '.join(names)}" if names else "it has none"
            raise InvalidOptionError(f"{cls.title} has no option {unknown[0]!r}; {choices}.")

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
        return [self.projection(image, budget) for image, budget in zip(tokens, budgets, strict=True)]

    def layout(self, tokens: ImageTokens) -> TokenLayout:
        """The layout of the columns of P: the image's tokens, unless a method reads others as well.

        Args:
            tokens: of the image.
        """
        return tokens.layout

    def max_tokens(self, tokens: ImageTokens) -> int:
        """The largest m of a P that is not the identity: n, unless the method reads fewer tokens.

        Args:
            tokens: of the image.
        """
        return len(tokens)

    def output_length(self, tokens: ImageTokens, budget: int) -> int:
        """m of the P for a budget, where the method follows one; nothing is computed for it.

        Args:
            tokens: of the image.
            budget: number of tokens to leave, from 1 to n.
        """
        return budget if budget == len(tokens) else min(budget, self.max_tokens(tokens))

    @abstractmethod
    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """P, (m, n), for a budget below n.

        Args:
            tokens: the n tokens of the image.
            budget: m, the number of tokens to leave.
        """


class VisionMethod(Method):
    """A method that acts on the vision encoder's output, on each view by itself.

    The columns of its P are the N tokens of all views, one view after the other, and no row reads two views.
    The rate speaks of the n tokens that the language model would read. The views share the m tokens evenly,
    and m is at most N: the encoder sees no separators, so that none is left.
    """

    stage: ClassVar[Stage] = "vision"

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """(m, N), or as many columns as `layout` has tokens."""
        budgets = self.view_budgets(tokens.views, self.output_length(tokens, budget))
        blocks = [self._block(view, m) for view, m in zip(tokens.views, budgets, strict=True)]
        if not tokens.tiles:
            return blocks[0]
        return self.join(blocks, tokens.view_order.to(blocks[0].device, non_blocking=True))

    def _block(self, view: ImageTokens, budget: int) -> Tensor:
        if budget:
            return self.view_weights(view, budget)
        return torch.zeros(0, len(self.view_layout(view)), device=view.embeddings.device)

    def layout(self, tokens: ImageTokens) -> TokenLayout:
        """The layout of the tokens of all views."""
        layouts = [self.view_layout(view) for view in tokens.views]
        return join_layouts(layouts) if tokens.tiles else layouts[0]

    def max_tokens(self, tokens: ImageTokens) -> int:
        """N: the encoder sees no separators."""
        return sum(map(len, tokens.views))

    def view_layout(self, view: ImageTokens) -> TokenLayout:
        """The layout of the columns that a view has in P: its tokens, unless a method reads [CLS] as well.

        Args:
            view: its tokens.
        """
        return view.layout

    def view_budgets(self, views: Sequence[ImageTokens], budget: int) -> list[int]:
        """How many of the m tokens each view gets; what does not divide evenly goes to the first ones.

        Args:
            views: of the image.
            budget: m.
        """
        share, remainder = divmod(budget, len(views))
        return [share + (index < remainder) for index in range(len(views))]

    @abstractmethod
    def view_weights(self, view: ImageTokens, budget: int) -> Tensor:
        """P of one view, with as many columns as `view_layout` has tokens.

        Args:
            view: its tokens.
            budget: number of tokens to leave of it, at least 1.
        """

    def join(self, blocks: Sequence[Tensor], order: Tensor) -> Tensor:
        """P of several views, given the P of each; the rows follow one another view by view.

        Args:
            blocks: as `view_weights` gives them; without rows where a view got none.
            order: place of each of the views' N tokens in reading order, for methods that sort by it.
        """
        return torch.block_diag(*blocks)


class DecoderMethod(Method):
    """A method that prunes inside the language model, by what a layer's attention says about a prompt.

    Its P is known only after the first prefill, which calls `select`; then it is `ChatSession.projection`.

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
            image_start: position of the first image token.
            n: image tokens.
            budget: m, image tokens to keep.
        """

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """Not available before the language model has read a prompt.

        Raises:
            DecidedInDecoderError: always.
        """
        raise DecidedInDecoderError(
            f"{self.title} chooses inside the language model while it reads a question: ask one first."
        )
