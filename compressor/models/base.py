"""What every model is to the rest: an encoder of images, a tokenizer of turns, and a `Decoder`."""

import string
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from compressor.geometry import CLASS
from compressor.models.catalog import FAMILIES
from compressor.projection import Projection
from compressor.tokens import ImageTokens


def on_device(values: Sequence[Any], device: torch.device) -> Tensor:
    """Python integers, nested at will, as an int64 tensor, without waiting for a GPU's earlier work."""
    ids = torch.tensor(values, dtype=torch.long)
    if device.type == "cuda":
        ids = ids.pin_memory()  # from other memory, a copy is one that waits
    return ids.to(device, non_blocking=True)


@dataclass(frozen=True)
class PreparedImages:
    """Images made ready on the host for the encoder: resized, cut into what it sees at once, normalised.

    Args:
        pixels: of all views, image after image, (views, 3, H, W) on the CPU, in the model's dtype.
        sizes: (W, H) of each image.
    """

    pixels: Tensor
    sizes: list[tuple[int, int]]


@dataclass(frozen=True)
class Decoder:
    """The language model taken apart, so that the decoding loop needs nothing else of a model.

    Args:
        embed: ids (...) -> embeddings (..., d).
        layers: called with hidden states (B, L, d) and keyword arguments `attention_mask` (additive,
            (B, 1, L, keys), or None for plain causal), `position_embeddings`, `position_ids` and
            `cache` (an object with `update(keys, values, layer_index, **ignored)`).
        rotary: (hidden states, position_ids=(B, L) or (3, B, L)) -> (cos, sin).
        norm: the final norm.
        head: (..., d) -> logits (..., vocabulary).
        queries: (layer index, its input (B, L, d), rotary of the L tokens) -> (B, heads, L, d_k), rotated and
            scaled, so that their dot products with the cached keys are the layer's attention scores; the L
            tokens are text.
        takes_image_mask: whether the layers treat image tokens in their own way. They then also take
            `image_mask`, (B, L) booleans, True for the tokens of an image, or None where all are text.
    """

    embed: Callable[[Tensor], Tensor]
    layers: Sequence[Callable[..., Tensor]]
    rotary: Callable[..., tuple[Tensor, Tensor]]
    norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    queries: Callable[[int, Tensor, tuple[Tensor, Tensor]], Tensor]
    takes_image_mask: bool = False


@dataclass(frozen=True, eq=False)
class PromptEmbeddings:
    """What the language model reads next.

    Args:
        embeddings: (L, d).
        image_mask: (L,) booleans, True for the tokens of an image; None where all are text.
    """

    embeddings: Tensor
    image_mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)


def bare_words(pieces: Iterable[str]) -> list[str]:
    """Pieces of a text without the punctuation and spaces around them; what is left, in order, each once."""
    words = []
    for piece in pieces:
        letters = [not _separates(character) for character in piece]
        if any(letters):
            words.append(piece[letters.index(True) : len(piece) - letters[::-1].index(True)])
    return list(dict.fromkeys(words))


def _separates(character: str) -> bool:
    """Whether it is a space, a control character or punctuation, and no letter, digit or pictograph."""
    return character in string.punctuation or unicodedata.category(character)[0] in "PZC"


def gradient_picture(side: int) -> Image.Image:
    """A fixed square picture with colour gradients and coarse blocks."""
    y, x = np.mgrid[0:side, 0:side] / side
    blocks = ((x * 8).astype(int) + (y * 8).astype(int)) % 2
    return Image.fromarray((np.stack([x, y, blocks], axis=-1) * 255).astype(np.uint8))


class VisionLanguageModel(ABC):
    """A loaded model.

    Attributes: `family` (of the catalog, which says its options; each is an attribute), `name` (catalog name,
    or the directory's), `hf` (the transformers model), `decoder`, `width` (d), `context_length` in tokens,
    `image_token_id` (stands for the whole image in a list of ids), `eos_id` (ends an answer in a transcript),
    `image_size` (edge in pixels of what the vision encoder reads at once), `projector` (features ->
    embeddings), `revision` (commit of the checkpoint, None where it is not known),
    `directory` (of the checkpoint, None for a model that was made in memory).

    For those who count what it costs: `text_config` and `vision_config`, of the Llama and of the CLIP inside;
    `image_rank`, of the low-rank part that every projection of a layer adds where a prompt shows an image.
    """

    family: ClassVar[str]
    name: str
    hf: Any  # torch types the attributes of a module as Tensor | Module; here they are typed once
    decoder: Decoder
    width: int
    context_length: int
    image_token_id: int
    eos_id: int
    image_size: int
    projector: nn.Module
    tokenizer: Any
    text_config: Any
    vision_config: Any
    image_rank: int = 0
    revision: str | None = None
    directory: Path | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Those of its family, by name, as this model has them."""
        return {name: getattr(self, name) for name in FAMILIES[self.family].options}

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return self.hf.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the language model reads."""
        return self.hf.get_input_embeddings().weight.dtype

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end an answer when the model writes them, `eos_id` among them."""
        return frozenset({self.eos_id})

    @cached_property
    def token_norm(self) -> float:
        """Root mean square of the norms of image tokens, measured on a fixed generated picture."""
        tokens = self.encode(gradient_picture(self.image_size))
        return float(tokens.embeddings.float().pow(2).sum(-1).mean().sqrt())

    def variant(self, **options: Any) -> Self:
        """The same model with other options of its family; both share all weights.

        Args:
            options: of `catalog.FAMILIES`.
        Raises:
            InvalidOptionError: the family has no such option, or a value is not allowed.
        """
        FAMILIES[self.family].require_options(options)
        model = copy(self)
        vars(model).update(options)
        return model

    def encode(self, image: Image.Image, want: frozenset[str] = frozenset()) -> ImageTokens:
        """The tokens of one image, computed without a graph (but usable in one)."""
        return self.encode_batch([image], want)[0]

    def encode_batch(
        self, images: Sequence[Image.Image], want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """The tokens of several images, in one pass of the encoder.

        Args:
            images: any size; converted to RGB.
            want: what a method needs beyond the tokens (`Method.needs`).
        Raises:
            ImageError: the model cannot be shown such an image.
            ModelMismatchError: the model does not offer what is wanted.
        """
        return self.encode_prepared(self.prepare(images), want)

    @abstractmethod
    def prepare(self, images: Sequence[Image.Image]) -> PreparedImages:
        """The first half of `encode_batch`: all that is done on the host."""

    def host_pixels(self, pixels: Tensor) -> Tensor:
        """Pixels as `PreparedImages` holds them: in the model's dtype, pinned where a GPU copies them."""
        pixels = pixels.to(self.dtype)
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    @abstractmethod
    def encode_prepared(
        self, prepared: PreparedImages, want: frozenset[str] = frozenset()
    ) -> list[ImageTokens]:
        """The second half of `encode_batch`: all that is done on the device."""

    def compress(self, tokens: ImageTokens, projection: Projection) -> Tensor:
        """Apply P at its stage: what the language model reads of the image, (m, d).

        A vision-stage P acts on the tokens of all views, before the projector, which is not linear.
        """
        if projection.stage == "decoder":
            return tokens.embeddings
        untouched = projection.is_identity and projection.n == len(tokens)
        if projection.stage == "embedding" or untouched:
            return projection.apply(tokens.embeddings)
        features = []
        for view in tokens.views:
            if CLASS in projection.layout.kinds:
                features.append(view.require("cls_feature")[None])
            features.append(view.features)
        return self.projector(projection.apply(torch.cat(features)))

    def projected(self, tokens: ImageTokens) -> int:
        """How many tokens of an image the projector reads when it is encoded: those of all views."""
        return sum(len(view) for view in tokens.views)

    @abstractmethod
    def prompt_ids(self, question: str, first: bool) -> list[int]:
        """Token ids of a question in the model's chat template.

        Args:
            question: taken literally; nothing in it becomes a special token.
            first: whether it opens the chat: then the ids hold `image_token_id` exactly once.
        Raises:
            InvalidQuestionError: the question cannot be distinguished from the template.
        """

    @abstractmethod
    def unknown_words(self, text: str) -> list[str]:
        """The words of a text, without punctuation, that the model has no token for, in order, each once."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of answer ids, without special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True).strip()

    def embed_pieces(self, pieces: Sequence[Tensor]) -> PromptEmbeddings:
        """Embeddings of text and image tokens in a row: pieces are ids (k,) or image tokens (k, d)."""
        table, device = self.decoder.embed, self.device
        parts = [piece.to(device) for piece in pieces]
        embeddings = [table(part) if part.ndim == 1 else part.to(self.dtype) for part in parts]
        if all(part.ndim == 1 for part in parts):
            return PromptEmbeddings(torch.cat(embeddings))
        masks = [torch.full((len(part),), part.ndim == 2, device=device) for part in parts]
        return PromptEmbeddings(torch.cat(embeddings), torch.cat(masks))

    def embed_ids(self, ids: Sequence[int], reduced: Tensor | None) -> PromptEmbeddings:
        """Embeddings (L, d) of ids, with the m reduced tokens (m, d) in the place of the image's id.

        With None the ids are all text: the image was read before, and an answer may hold its id.
        """
        ids = list(ids)
        if reduced is None or self.image_token_id not in ids:
            return self.embed_pieces([on_device(ids, self.device)])
        at = ids.index(self.image_token_id)
        before, after = (on_device(part, self.device) for part in (ids[:at], ids[at + 1 :]))
        return self.embed_pieces([before, reduced, after])
