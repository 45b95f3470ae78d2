"""The LLaVA-NeXT family (v1.6): the whole image squashed, and tiles of it at a higher resolution."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration

from compressor.geometry import llava_next_layout, llava_next_tiles
from compressor.models.clip_llava import ClipLlava
from compressor.tokens import ImageTokens


class LlavaNext(ClipLlava):
    """A LLaVA-NeXT checkpoint on a Vicuna; arguments as of the base class.

    Its n tokens are those of the whole image, then the rows of the larger one, a learned newline after each.
    """

    architecture = LlavaNextForConditionalGeneration
    system = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    )

    def encode_batch(
        self, images: Sequence[Image.Image], want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """See the base class; `tiles` begin with the whole image."""
        tilings = [llava_next_tiles(image.size, **self._tiling) for image in images]
        inputs = self.processor(
            images=[image.convert("RGB") for image in images],
            return_tensors="pt",
            input_data_format="channels_last",
            image_grid_pinpoints=self._tiling["pinpoints"],
        )
        pixels = [  # the processor fills up those with fewer tiles
            views[: len(layouts)] for views, (layouts, _) in zip(inputs["pixel_values"], tilings, strict=True)
        ]
        seen = iter(self._see(torch.cat(pixels), [each for layouts, _ in tilings for each in layouts], want))
        return [
            self._put_together(image.size, tuple(islice(seen, len(layouts))), torch.from_numpy(order))
            for image, (layouts, order) in zip(images, tilings, strict=True)
        ]

    @property
    def _tiling(self) -> dict[str, Any]:
        """How an image becomes views, in the words of `geometry`."""
        config, vision = self.hf.config, self.hf.config.vision_config
        return {
            "pinpoints": config.image_grid_pinpoints,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        }

    def _put_together(
        self, size: tuple[int, int], tiles: tuple[ImageTokens, ...], order: Tensor
    ) -> ImageTokens:
        """The n tokens of an image of size (W, H): its tiles', unpadded, with newlines."""
        features = torch.stack([tile.features for tile in tiles])  # (views, k, d_v)
        embeddings = torch.stack([tile.embeddings for tile in tiles])  # (views, k, d)
        return ImageTokens(
            features=self._pack(features, size, newline=features.new_zeros(features.shape[-1])),
            embeddings=self._pack(embeddings, size, newline=self.hf.model.image_newline),
            layout=llava_next_layout(size, **self._tiling),
            tiles=tiles,
            tile_order=order,
        )

    def _pack(self, views: Tensor, size: tuple[int, int], newline: Tensor) -> Tensor:
        """The views' tokens (views, k, d) as the model lines them up, (n, d), with newlines (d,)."""
        width, height = size
        packed, _ = self.hf.model.pack_image_features(
            [views], [(height, width)], "default", image_newline=newline
        )
        return packed[0]
