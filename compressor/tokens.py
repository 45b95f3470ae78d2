"""What a model saw in an image: the tokens before and after its projector, and what heuristics ask for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import ModelMismatchError
from compressor.geometry import TokenLayout


@dataclass(frozen=True, eq=False)
class ImageTokens:
    """The n tokens of one image.

    The feature layer is the encoder layer whose output the projector reads. `VisionLanguageModel.encode`
    computes the optional tensors on request; [CLS] comes first in all of them. Where the encoder is given an
    image in several tiles, each tile has tokens of its own and holds its optional tensors.

    Args:
        features: (n, d_v), output of the feature layer, without [CLS]; 0 for separators, which it never saw.
        embeddings: (n, d), the projector's output, in the language model's width.
        layout: where each token lies in the image.
        cls_feature: (d_v,), [CLS] in the output of the feature layer ("cls_attention").
        cls_attention: (heads, n + 1), what [CLS] attends to in the feature layer ("cls_attention").
        keys: (n + 1, heads, d_k), of the feature layer ("keys").
        last_queries: (n + 1, d_v), raw query projection of the encoder's last layer ("queries").
        last_keys: (n + 1, d_v), raw key projection of the same layer ("queries").
        tiles: the views that the encoder was given, where they are several, before they became n tokens.
        tile_order: (N,) int64, the place in reading order of the tiles' N tokens, tile after tile.

    Raises:
        ModelMismatchError: they do not describe the same number of tokens.
    """

    features: Tensor
    embeddings: Tensor
    layout: TokenLayout
    cls_feature: Tensor | None = None
    cls_attention: Tensor | None = None
    keys: Tensor | None = None
    last_queries: Tensor | None = None
    last_keys: Tensor | None = None
    tiles: tuple["ImageTokens", ...] = ()
    tile_order: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.embeddings) == len(self.layout):
            raise ModelMismatchError(
                f"Features, embeddings and layout differ in tokens: {len(self.features)}, "
                f"{len(self.embeddings)}, {len(self.layout)}."
            )
        if self.cls_feature is not None and self.cls_feature.shape != self.features.shape[1:]:
            raise ModelMismatchError("[CLS] and the features differ in width; take both from one layer.")
        for name, axis in (("cls_attention", 1), ("keys", 0), ("last_queries", 0), ("last_keys", 0)):
            value = getattr(self, name)
            if value is not None and value.shape[axis : axis + 1] != (len(self) + 1,):
                raise ModelMismatchError(
                    f"{name} must describe [CLS] and the {len(self)} tokens, not {tuple(value.shape)}."
                )

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def extras(self) -> frozenset[str]:
        """Those of `Method.needs` that are there, in the whole image or in each of its views."""
        view = self.views[0]
        optional = {"cls_attention": view.cls_attention, "keys": view.keys, "queries": view.last_queries}
        return frozenset({"features", *(name for name, value in optional.items() if value is not None)})

    @property
    def views(self) -> tuple["ImageTokens", ...]:
        """What the encoder was given, one after the other: the tiles, or the image itself."""
        return self.tiles or (self,)

    @property
    def view_order(self) -> Tensor:
        """Place in reading order of every token of the views, (N,)."""
        return torch.arange(len(self)) if self.tile_order is None else self.tile_order

    def require(self, name: str) -> Tensor:
        """One of the optional tensors.

        Args:
            name: of the attribute.
        Raises:
            ModelMismatchError: the image was encoded without it, or each of its tiles has its own.
        """
        value = getattr(self, name)
        if value is None and self.tiles:
            raise ModelMismatchError(f"This image has no {name} as a whole: read that of each of its tiles.")
        if value is None:
            raise ModelMismatchError(
                f"The image was encoded without {name}: pass the method's needs to encode."
            )
        return value
