"""The LLaVA-1.5 family: one square view, a CLIP tower, a projector and a Llama."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

from compressor.errors import ImageError, InvalidQuestionError, ModelMismatchError
from compressor.geometry import llava_layout
from compressor.models.base import VisionLanguageModel
from compressor.models.llama import llama_decoder
from compressor.models.tower_hooks import TowerHooks
from compressor.projection import Projection
from compressor.tokens import ImageTokens

LONGEST_EDGE = 4096  # px; larger pictures are reduced first, so that padding them cannot exhaust the memory
MAX_CROP_ASPECT = 32


class Llava(VisionLanguageModel):
    """A LLaVA-1.5 checkpoint.

    Args:
        source: a local directory or a Hub repository.
        name: under which it is known.
        device, dtype: where and how to compute.
        crop: cut the middle out of non-square images, as the checkpoint's processor does, instead of padding
            them to a square in the processor's mean colour, as the original evaluation does.
    Raises:
        OSError, ValueError: as `from_pretrained` does.
    """

    def __init__(
        self, source: str | Path, *, name: str, device: torch.device, dtype: torch.dtype, crop: bool = False
    ) -> None:
        self.name, self.crop = name, crop
        self.hf = LlavaForConditionalGeneration.from_pretrained(
            source, dtype=dtype, attn_implementation="sdpa"
        )
        self.hf.to(device).eval().requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(source)
        self.processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        config, language = self.hf.config, self.hf.model.language_model
        if config.vision_feature_select_strategy != "default" or not isinstance(
            config.vision_feature_layer, int
        ):
            raise ModelMismatchError(
                "Only LLaVA models that read the patches of one vision layer are supported."
            )
        self.width = config.text_config.hidden_size
        self.context_length = config.text_config.max_position_embeddings
        self.image_token_id = config.image_token_id
        self.eos_id = self.tokenizer.eos_token_id
        self.decoder = llama_decoder(language, self.hf.lm_head)
        self.hooks = self._tower_hooks()

    def _tower_hooks(self) -> TowerHooks:
        tower, layer = self.hf.model.vision_tower, self.hf.config.vision_feature_layer
        return TowerHooks(
            tower.encoder.layers,
            layer if layer < 0 else layer - 1,  # entry 0 of the hidden states is the first layer's input
            heads=self.hf.config.vision_config.num_attention_heads,
            has_cls=hasattr(tower.embeddings, "class_embedding"),
        )

    @cached_property
    def token_norm(self) -> float:
        """Root mean square of the token norms of a fixed picture with colour gradients and coarse blocks."""
        size = self.hf.config.vision_config.image_size
        y, x = np.mgrid[0:size, 0:size] / size
        blocks = ((x * 8).astype(int) + (y * 8).astype(int)) % 2
        picture = Image.fromarray((np.stack([x, y, blocks], axis=-1) * 255).astype(np.uint8))
        return float(self.encode(picture).embeddings.float().pow(2).sum(-1).mean().sqrt())

    def encode_batch(
        self, images: Sequence[Image.Image], want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """See the base class; `features` are the output of the layer the projector reads."""
        views = [self._view(image) for image in images]
        inputs = self.processor(images=views, return_tensors="pt", input_data_format="channels_last")
        pixels = inputs["pixel_values"].to(self.device, self.dtype)
        with torch.no_grad(), self.hooks.recording(want) as sink:
            output = self.hf.model.get_image_features(pixel_values=pixels)
        hidden = output.hidden_states[self.hf.config.vision_feature_layer]  # (B, n + 1, d_v)
        vision = self.hf.config.vision_config
        return [
            ImageTokens(
                features=hidden[index, 1:],
                embeddings=output.pooler_output[index],
                layout=llava_layout(
                    image.size, self.crop, image_size=vision.image_size, patch_size=vision.patch_size
                ),
                **self.hooks.extras(sink, hidden, want, index),
            )
            for index, image in enumerate(images)
        ]

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

    def compress(self, tokens: ImageTokens, projection: Projection) -> Tensor:
        """See the base class; a vision-stage P acts before the projector, which is not linear."""
        if projection.stage == "vision" and not projection.is_identity:
            features = tokens.features
            if projection.n == len(tokens) + 1:
                features = torch.cat([tokens.require("cls_feature")[None], features])
            return self.hf.model.multi_modal_projector(projection.apply(features))
        if projection.stage == "decoder":
            return tokens.embeddings
        return projection.apply(tokens.embeddings)

    def prompt_ids(self, question: str, first: bool) -> list[int]:
        """The Vicuna template of LLaVA-1.5; the whole turn is tokenised at once, as the model was trained."""
        image = f"{self.tokenizer.convert_ids_to_tokens(self.image_token_id)}\n" if first else ""
        text = f"USER: {image}{self._literal(question)} ASSISTANT:"
        ids = self.tokenizer(text, add_special_tokens=first)["input_ids"]
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        begins = first and ids[0] == self.tokenizer.bos_token_id
        found = [token for token in ids[1 if begins else 0 :] if token in special]
        if found != ([self.image_token_id] if first else []):
            raise InvalidQuestionError("The question contains the model's control tokens; reword it.")
        return ids

    def _literal(self, text: str) -> str:
        """Text that spells no special token any more: a space breaks each after its first letter."""
        names = sorted(map(re.escape, self.tokenizer.all_special_tokens), key=len, reverse=True)
        return re.sub(
            "|".join(names), lambda found: f"{found[0][0]} {found[0][1:]}", text, flags=re.IGNORECASE
        )

    def unknown_words(self, text: str) -> list[str]:
        """See the base class; empty for tokenizers that fall back to bytes."""
        encoded = self.tokenizer(self._literal(text), add_special_tokens=False, return_offsets_mapping=True)
        literal, unknown = self._literal(text), self.tokenizer.unk_token_id
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        words = [literal[start:end].strip() for token, (start, end) in spans if token == unknown]
        return list(dict.fromkeys(word for word in words if word))
