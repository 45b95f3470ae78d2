"""A matrix that was computed elsewhere, such as the one optimised for a single image."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from compressor.errors import InvalidOptionError, InvalidProjectionError, ModelMismatchError
from compressor.methods.base import Method
from compressor.projection import Projection
from compressor.tokens import ImageTokens


class Fixed(Method):
    """A given P on the projector's output, whatever image and budget: its rows say how many tokens stay.

    Args:
        weights: P, (m, n); copied, and kept on the CPU in float32.
    Raises:
        InvalidProjectionError: it is not a matrix of numbers, or a projection of another stage.
    Source: MetaCompress, equation 5 and supplement 8.1.
    """

    name = "fixed"
    title = "Fixed"
    description = "Applies a given matrix P, such as one optimised for this very image."
    needs_input = True

    def __init__(self, weights: Tensor | np.ndarray | Projection) -> None:
        if isinstance(weights, Projection):
            if weights.stage != self.stage:
                raise InvalidProjectionError(
                    f"A fixed P acts at the stage {self.stage!r}, this one at {weights.stage!r}: "
                    "use the method that computed it."
                )
            weights = weights.weights
        try:
            matrix = torch.as_tensor(weights).detach().to("cpu", torch.float32, copy=True)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InvalidProjectionError("P must hold numbers: give a tensor or an array.") from error
        if matrix.ndim != 2:
            raise InvalidProjectionError(f"P must be a matrix (m, n), not of shape {tuple(matrix.shape)}.")
        self.matrix = matrix

    @classmethod
    def create(cls, model: Any, **options: Any) -> Self:
        """As the base class does.

        Args:
            model: ignored.
            **options: `weights`.
        Raises:
            InvalidOptionError: `weights` is missing, or there is another option.
        """
        if "weights" not in options:
            raise InvalidOptionError("The method fixed needs a matrix P: pass it as the option weights.")
        return super().create(model, **options)

    def projection(self, tokens: ImageTokens, budget: int) -> Projection:
        """The given P; `budget` is ignored.

        Raises:
            ModelMismatchError: the image has another number of tokens.
            InvalidProjectionError: an entry of P is negative or not finite.
        """
        return Projection(self.weights(tokens, budget), tokens.layout, self.stage)

    def weights(self, tokens: ImageTokens, budget: int) -> Tensor:
        """The given P, (m, n), on the device of the tokens."""
        n = self.matrix.shape[1]
        if n != len(tokens):
            raise ModelMismatchError(
                f"This P was computed for an image of {n} tokens and this one has {len(tokens)}: "
                "use it with the model it was computed for."
            )
        return self.matrix.to(tokens.embeddings.device)
