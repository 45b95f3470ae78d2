"""What a model saw in an image: the tokens before and after its projector."""

from dataclasses import dataclass

from torch import Tensor

from compressor.errors import ModelMismatchError
from compressor.geometry import TokenLayout


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """The n tokens of one image.

    Args:
        features: (n, d_v), output of the vision encoder's selected layer, without [CLS].
        embeddings: (n, d), the projector's output, in the language model's width.
        layout: where each token lies in the image.

    Raises:
        ModelMismatchError: the three do not describe the same number of tokens.
    """

    features: Tensor
    embeddings: Tensor
    layout: TokenLayout

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.embeddings) == len(self.layout):
            raise ModelMismatchError(
                f"Features, embeddings and layout differ in tokens: {len(self.features)}, "
                f"{len(self.embeddings)}, {len(self.layout)}."
            )

    def __len__(self) -> int:
        return len(self.embeddings)
