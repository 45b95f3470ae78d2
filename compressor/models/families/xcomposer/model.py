"""InternLM-XComposer-2.5: a whole view and tiles of 560 px, CLIP, and a Llama with partial LoRA.

A video is shown as one picture composed of its frames, so it is an image like any other here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from compressor.errors import ModelUnavailableError
from compressor.geometry import PATCH, xcomposer_canvas, xcomposer_layout, xcomposer_tiles
from compressor.models.base import PreparedImages, VisionLanguageModel, bare_words
from compressor.models.catalog import FAMILIES
from compressor.models.families.llama_decoder import llama_decoder
from compressor.models.families.tower_hooks import TowerHooks
from compressor.models.families.xcomposer.checkpoint import CheckpointFiles, assign
from compressor.models.families.xcomposer.image import arrange, merge_patches, per_block, views
from compressor.models.families.xcomposer.network import XComposerNetwork
from compressor.models.families.xcomposer.tokenizer import InternLM2Tokenizer
from compressor.models.loading.checkpoint import read_config
from compressor.models.loading.memory import DeviceMap
from compressor.models.loading.placement import places, require_gpus, require_together, spread
from compressor.models.loading.quantization import require_cpu_shapes
from compressor.tokens import ImageTokens

WHOLE = ["CLIPEncoderLayer", "PartialLoraLayer"]  # modules that stay on one GPU


class XComposer(VisionLanguageModel):
    """InternLM-XComposer-2.5.

    Args:
        network: with its weights.
        name: under which it is known.
        context_length: tokens it can read.
        tokenizer: None where only ids and image tokens are to be read.

    Attributes: `hd_num`, tiles that an image is cut into at most.
    """

    family = "internlm2"
    hd_num: int = FAMILIES["internlm2"].options["hd_num"].default

    def __init__(
        self,
        network: XComposerNetwork,
        *,
        name: str,
        context_length: int,
        tokenizer: InternLM2Tokenizer | None = None,
    ) -> None:
        self.hf, self.name, self.context_length = network, name, context_length
        self._tokenizer = tokenizer
        self.text_config, self.vision_config = network.language.config, network.tower.config
        self.image_rank = network.rank
        self.width = self.text_config.hidden_size
        self.projector, vision = network.vision_proj, self.vision_config
        self.image_size = vision.image_size
        self.hooks = TowerHooks(network.tower.encoder.layers, -1, vision.num_attention_heads, has_cls=True)
        self.image_token_id = -1  # no id of the vocabulary: an image has no token of its own
        self.decoder = replace(llama_decoder(network.language, network.lm_head), takes_image_mask=True)

    @property
    def tokenizer(self) -> InternLM2Tokenizer:
        """The tokenizer.

        Raises:
            ModelUnavailableError: the model was built without one.
        """
        if self._tokenizer is None:
            raise ModelUnavailableError(
                "This model was built without a tokenizer: load it from a checkpoint's directory to chat."
            )
        return self._tokenizer

    @property
    def eos_id(self) -> int:
        """The id that ends a turn."""
        return self.tokenizer.turn_end_id

    @property
    def stop_ids(self) -> frozenset[int]:
        """The end of a turn and the end of the text."""
        return frozenset({self.tokenizer.turn_end_id, self.tokenizer.eos_token_id})

    def embed_image(self, image: Image.Image, hd_num: int = 24) -> Tensor:
        """The image tokens that the language model reads, separators included: (n, d).

        Args:
            image: in any mode and size.
            hd_num: tiles that it is cut into at most.
        Raises:
            InvalidOptionError: there is no room for a tile.
        """
        return self.variant(hd_num=hd_num).encode(image).embeddings

    def logits(self, pieces: Sequence[Tensor]) -> Tensor:
        """Logits (L, vocabulary) of one causal pass over text and image tokens in a row.

        Args:
            pieces: ids (k,) or image tokens (k, d), compressed or not.
        """
        prompt = self.embed_pieces(pieces)
        mask = None if prompt.image_mask is None else prompt.image_mask[None]
        states = self.hf.language(inputs_embeds=prompt.embeddings[None], image_mask=mask, use_cache=False)
        return self.hf.lm_head(states.last_hidden_state[0])

    def prepare(self, images: Sequence[Image.Image]) -> PreparedImages:
        """See the base class; the views of an image begin with the whole canvas."""
        pixels = [views(image, self.hd_num, self.image_size)[0] for image in images]
        return PreparedImages(self.host_pixels(torch.cat(pixels)), [image.size for image in images])

    def encode_prepared(
        self, prepared: PreparedImages, want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """See the base class; a token's features are what the projector reads, 2 x 2 patches or a separator.

        Each image is a batch of up to 25 views already, so they go through the encoder one by one.
        """
        grids = [
            xcomposer_canvas(size, self.hd_num, image_size=self.image_size)[1] for size in prepared.sizes
        ]
        pixels = prepared.pixels.split([1 + rows * columns for rows, columns in grids])
        return [self._encode(*each, want) for each in zip(pixels, prepared.sizes, strict=True)]

    @torch.no_grad()
    def _encode(self, pixels: Tensor, size: tuple[int, int], want: frozenset[str]) -> ImageTokens:
        """The tokens of an image of size (W, H), from its views (views, 3, S, S)."""
        network, vision = self.hf, self.hf.tower.config
        sizes = {"image_size": vision.image_size, "patch_size": vision.patch_size}
        layout = xcomposer_layout(size, self.hd_num, **sizes)
        layouts, order = xcomposer_tiles(size, self.hd_num, **sizes)
        _, grid = xcomposer_canvas(size, self.hd_num, image_size=vision.image_size)
        with self.hooks.recording(want) as sink:
            hidden = network.tower(pixel_values=pixels.to(self.device, non_blocking=True)).last_hidden_state
        side = vision.image_size // vision.patch_size
        merged = merge_patches(hidden[:, 1:].unflatten(1, (side, side)))  # (views, s, s, 4 d_v)
        separators = network.separators
        features = arrange(merged, grid, separators.plora_sub_GN, separators.plora_glb_GN)  # (n, 4 d_v)
        embeddings, order = self.projector(features), torch.from_numpy(order)
        places = torch.from_numpy(layout.kinds == PATCH).nonzero()[order, 0].view(len(layouts), -1)
        tiles = tuple(
            ImageTokens(
                features[own],
                embeddings[own],
                each,
                **per_block(self.hooks.extras(sink, hidden, want, index)),
            )
            for index, (own, each) in enumerate(zip(places.to(self.device), layouts, strict=True))
        )
        return ImageTokens(features, embeddings, layout, tiles=tiles, tile_order=order)

    def projected(self, tokens: ImageTokens) -> int:
        """See the base class; the separators pass the projector, too."""
        return len(tokens)

    def prompt_ids(self, question: str, first: bool) -> list[int]:
        """The chat format of InternLM2: the image follows the begin token, before the first turn."""
        tokenizer = self.tokenizer
        start = [tokenizer.bos_token_id, self.image_token_id] if first else tokenizer.encode("\n")
        asked = [tokenizer.turn_begin_id, *tokenizer.encode(f"user\n{question}"), tokenizer.turn_end_id]
        answer = [*tokenizer.encode("\n"), tokenizer.turn_begin_id, *tokenizer.encode("assistant\n")]
        return [*start, *asked, *answer]

    def unknown_words(self, text: str) -> list[str]:
        """See the base class; empty for tokenizers that fall back to bytes."""
        unknown = self.tokenizer.unk_token_id
        return bare_words(word for word in text.split() if unknown in self.tokenizer.encode(word))


def from_checkpoint(
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    name: str = "xcomposer-2.5-7b",
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    four_bit: bool = False,
    device_map: DeviceMap | None = None,
    tokenizer: InternLM2Tokenizer | None = None,
) -> XComposer:
    """A model from the content of a checkpoint, for inference.

    Args:
        config: of its config.json.
        tensors: under the checkpoint's own names; each is read when its turn comes.
        name: under which the model is known.
        device: of everything, unless there is a `device_map`.
        dtype: of the weights that are not in 4 bits.
        device_map: how to spread over several GPUs, as of `load_model`; everything on `device` if None.
        four_bit: whether the language model's matrices are quantised with bitsandbytes; encoder, projector,
            embeddings, head and the low-rank parts are not.
        tokenizer: for chats.
    Raises:
        ModelMismatchError: config and tensors are not those of this family.
        ModelUnavailableError: the GPUs are too small.
        InvalidOptionError: the device map lacks a module, or parts what has to be together.
    """
    network = XComposerNetwork(config, dtype if four_bit else None)
    found = places(network, torch.device(device), dtype, device_map, WHOLE)
    if isinstance(device_map, str):
        require_gpus(found, name)
    if four_bit and any(torch.device(place).type == "cpu" for place in found.values()):
        require_cpu_shapes(network, name)
    assign(network, tensors, found, dtype)
    require_together(
        parameter
        for name, parameter in network.named_parameters()
        if name.startswith(("tower.", "separators.", "vision_proj.", "language.embed_tokens."))
    )
    spread(network, found)
    return XComposer(
        network.eval().requires_grad_(False),
        name=name,
        context_length=config["max_position_embeddings"],
        tokenizer=tokenizer,
    )


def load(source: Path, *, name: str, **options: Any) -> XComposer:
    """Load a checkpoint; no code of its repository is executed.

    Args:
        source: a local directory.
        name: under which it is known.
        **options: as of `from_checkpoint`.
    Raises:
        ModelUnavailableError, ModelMismatchError: files are missing or damaged, or of another model.
    """
    config = read_config(source)
    tokenizer = InternLM2Tokenizer(source / "tokenizer.model")
    return from_checkpoint(config, CheckpointFiles(source), name=name, tokenizer=tokenizer, **options)
