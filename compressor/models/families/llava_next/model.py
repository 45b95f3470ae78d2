"""The LLaVA-NeXT family (v1.6): the whole image squashed, and tiles of it at a higher resolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration

from compressor.geometry import TokenLayout, llava_next_layout, llava_next_tiles
from compressor.models.base import PreparedImages, on_device
from compressor.models.families.clip_llava import ClipLlava
from compressor.tokens import ImageTokens


@dataclass(frozen=True)
class Tiling:
    """How images of one size are cut into views, and the tokens of the views put together.

    Args:
        views: layout of each.
        order: of the views' N tokens, as `ImageTokens.tile_order` has it.
        layout: of the n tokens that the language model reads.
        packing: which of the views' tokens each of the n is, (n,); N stands for a newline.
    """

    views: list[TokenLayout]
    order: Tensor
    layout: TokenLayout
    packing: Tensor


class LlavaNext(ClipLlava):
    """A LLaVA-NeXT checkpoint on a Vicuna; arguments as of the base class.

    Its n tokens are those of the whole image, then the rows of the larger one, a learned newline after each.
    """

    family = "llava_next"
    architecture = LlavaNextForConditionalGeneration
    system = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    )

    def prepare(self, images: Sequence[Image.Image]) -> PreparedImages:
        """See the base class; the views of an image begin with the whole of it."""
        sizes = [image.size for image in images]
        inputs = self.processor(
            images=[image.convert("RGB") for image in images],
            return_tensors="pt",
            input_data_format="channels_last",
            image_grid_pinpoints=self.hf.config.image_grid_pinpoints,
        )
        pixels = [  # the processor fills up those with fewer tiles
            views[: len(self._tilings(size).views)]
            for views, size in zip(inputs["pixel_values"], sizes, strict=True)
        ]
        return PreparedImages(self.host_pixels(torch.cat(pixels)), sizes)

    def encode_prepared(
        self, prepared: PreparedImages, want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """See the base class; `tiles` begin with the whole image."""
        tilings = [self._tilings(size) for size in prepared.sizes]
        seen = iter(self._see(prepared.pixels, [view for tiling in tilings for view in tiling.views], want))
        return [self._put_together(tiling, tuple(islice(seen, len(tiling.views)))) for tiling in tilings]

    @cached_property
    def _tilings(self) -> Callable[[tuple[int, int]], Tiling]:
        """The tiling of an image of size (W, H); pictures often have the same few sizes."""
        return lru_cache(maxsize=32)(self._tile)

    def _tile(self, size: tuple[int, int]) -> Tiling:
        config, vision, (width, height) = self.hf.config, self.hf.config.vision_config, size
        sizes = {"image_size": vision.image_size, "patch_size": vision.patch_size}
        views, order = llava_next_tiles(size, config.image_grid_pinpoints, **sizes)
        places = torch.arange(len(order)).reshape(len(views), -1, 1)
        packed, _ = self.hf.model.pack_image_features(
            [places], [(height, width)], "default", image_newline=torch.tensor([len(order)])
        )
        return Tiling(
            views=views,
            order=torch.from_numpy(order),
            layout=llava_next_layout(size, config.image_grid_pinpoints, **sizes),
            packing=on_device(packed[0][:, 0].tolist(), self.device),
        )

    def _put_together(self, tiling: Tiling, tiles: tuple[ImageTokens, ...]) -> ImageTokens:
        """The n tokens of an image: its tiles', unpadded, with newlines."""
        features = torch.cat([tile.features for tile in tiles])  # (N, d_v)
        embeddings = torch.cat([tile.embeddings for tile in tiles])  # (N, d)
        newline = self.hf.model.image_newline.to(embeddings.dtype)
        return ImageTokens(
            features=torch.cat([features, torch.zeros_like(features[:1])])[tiling.packing],
            embeddings=torch.cat([embeddings, newline[None]])[tiling.packing],
            layout=tiling.layout,
            tiles=tiles,
            tile_order=tiling.order,
        )


load = LlavaNext
