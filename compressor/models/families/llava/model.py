"""The LLaVA-1.5 family: one square view of the image."""

from collections.abc import Sequence

from PIL import Image
from transformers import LlavaForConditionalGeneration

from compressor.errors import ImageError
from compressor.geometry import llava_layout
from compressor.models.base import PreparedImages
from compressor.models.catalog import FAMILIES
from compressor.models.families.clip_llava import ClipLlava
from compressor.tokens import ImageTokens

LONGEST_EDGE = 4096  # px; larger pictures are reduced first, so that padding them cannot exhaust the memory
MAX_CROP_ASPECT = 32


class Llava(ClipLlava):
    """A LLaVA-1.5 checkpoint; arguments as of the base class.

    Attributes: `crop`, whether the middle is cut out of non-square images, as the checkpoint's processor
    does, instead of padding them to a square in its mean colour, as the original evaluation does.
    """

    family = "llava"
    architecture = LlavaForConditionalGeneration
    crop: bool = FAMILIES["llava"].options["crop"].default

    def prepare(self, images: Sequence[Image.Image]) -> PreparedImages:
        """See the base class."""
        inputs = self.processor(
            images=[self._view(image) for image in images],
            return_tensors="pt",
            input_data_format="channels_last",
        )
        return PreparedImages(self.host_pixels(inputs["pixel_values"]), [image.size for image in images])

    def encode_prepared(
        self, prepared: PreparedImages, want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """See the base class; `features` are the output of the layer the projector reads."""
        vision = self.hf.config.vision_config
        layouts = [
            llava_layout(size, self.crop, image_size=vision.image_size, patch_size=vision.patch_size)
            for size in prepared.sizes
        ]
        return self._see(prepared.pixels, layouts, want)

    def _view(self, image: Image.Image) -> Image.Image:
        """The picture for the processor: RGB, not huge, padded to a square unless it is to be cropped."""
        short, longest = sorted(image.size)
        if self.crop and longest > MAX_CROP_ASPECT * short:
            raise ImageError(
                f"This picture is more than {MAX_CROP_ASPECT} times longer than wide; cut it, or pad it."
            )
        image = image.convert("RGB")
        if longest > LONGEST_EDGE:
            ratio = LONGEST_EDGE / longest
            image = image.resize(
                tuple(max(1, round(edge * ratio)) for edge in image.size), Image.Resampling.BOX
            )
        if self.crop or image.width == image.height:
            return image
        side = max(image.size)
        canvas = Image.new("RGB", (side, side), tuple(int(mean * 255) for mean in self.processor.image_mean))
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return canvas


load = Llava
