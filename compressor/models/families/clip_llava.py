"""What the LLaVA families share: a CLIP tower, a projector, a Llama, and the Vicuna template."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressor.errors import InvalidQuestionError, ModelMismatchError
from compressor.geometry import TokenLayout
from compressor.models.base import VisionLanguageModel, bare_words
from compressor.models.families.llama_decoder import llama_decoder
from compressor.models.families.pretrained import PretrainedParts, load_pretrained
from compressor.models.families.tower_hooks import TowerHooks
from compressor.models.loading.memory import DeviceMap
from compressor.tokens import ImageTokens

# what begins a turn of Mistral, of ChatML (Yi, Qwen) and of Llama 3
OTHER_FORMATS = ("[INST]", "<|im_start|>", "<|start_header_id|>")


def require_vicuna(source: Path) -> None:
    """Refuse a checkpoint that was trained with another chat format, where its templates say so.

    Raises:
        ModelMismatchError: they hold turns of another format and none of Vicuna's.
    """
    files = [source / name for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")]
    templates = "".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    if "ASSISTANT" not in templates and any(mark in templates for mark in OTHER_FORMATS):
        raise ModelMismatchError(
            f"{source.name!r} was not trained with Vicuna's chat format, the only one known here for this "
            "family; use a checkpoint on a Vicuna."
        )


class ClipLlava(VisionLanguageModel):
    """A checkpoint of a LLaVA family; the family says what the encoder is shown of an image.

    Attributes: `architecture`, its class in transformers; `system`, what the template says before turn one.

    Args:
        source: a local directory, or the parts of a model that are in their place already.
        name: under which it is known.
        device: as of `load_pretrained`.
        dtype: as of `load_pretrained`.
        four_bit: as of `load_pretrained`.
        device_map: as of `load_pretrained`.
    Raises:
        OSError, ValueError: as `from_pretrained` does.
        ModelMismatchError: weights or tokenizer are not those of the config, or the encoder is read in a way
            that this project does not know.
        ModelUnavailableError: weights are missing or damaged.
    """

    architecture: ClassVar[Any]
    system: ClassVar[str] = ""

    def __init__(
        self,
        source: Path | PretrainedParts,
        *,
        name: str,
        device: torch.device,
        dtype: torch.dtype,
        four_bit: bool = False,
        device_map: DeviceMap | None = None,
    ) -> None:
        self.name = name
        parts = source
        if not isinstance(parts, PretrainedParts):
            require_vicuna(parts)
            parts = load_pretrained(self.architecture, parts, device, dtype, four_bit, device_map)
        self.hf, self.tokenizer, self.processor = parts.hf, parts.tokenizer, parts.processor
        self.hf.eval().requires_grad_(False)
        config, language = self.hf.config, self.hf.model.language_model
        if config.vision_feature_select_strategy != "default" or not isinstance(
            config.vision_feature_layer, int
        ):
            raise ModelMismatchError(
                "Only LLaVA models that read the patches of one vision layer are supported."
            )
        self.text_config, self.vision_config = config.text_config, config.vision_config
        self.width = config.text_config.hidden_size
        self.context_length = config.text_config.max_position_embeddings
        self.projector = self.hf.model.multi_modal_projector
        self.image_size = config.vision_config.image_size
        self.image_token_id = config.image_token_id
        self.eos_id = self.tokenizer.eos_token_id
        self.decoder = llama_decoder(language, self.hf.lm_head)
        self.hooks = self._tower_hooks()
        if parts is not source:
            self._require_tokenizer()

    def _tower_hooks(self) -> TowerHooks:
        tower, layer = self.hf.model.vision_tower, self.hf.config.vision_feature_layer
        return TowerHooks(
            tower.encoder.layers,
            layer if layer < 0 else layer - 1,  # entry 0 of the hidden states is the first layer's input
            heads=self.hf.config.vision_config.num_attention_heads,
            has_cls=hasattr(tower.embeddings, "class_embedding"),
        )

    def _see(self, pixels: Tensor, layouts: list[TokenLayout], want: frozenset[str]) -> list[ImageTokens]:
        """The tokens of views of the encoder's size, in one pass of encoder and projector.

        Args:
            pixels: (views, 3, S, S), as `prepare` makes them.
            layouts: of each view.
            want: as for `encode_batch`.
        """
        layer = self.hf.config.vision_feature_layer
        with torch.no_grad(), self.hooks.recording(want) as sink:
            pixels = pixels.to(self.device, non_blocking=True)
            output = self.hf.model.vision_tower(pixels, output_hidden_states=layer, return_dict=True)
            hidden = output.hidden_states[layer]  # (views, k + 1, d_v)
            embeddings = self.projector(hidden[:, 1:])  # (views, k, d)
        return [
            ImageTokens(
                features=hidden[index, 1:],
                embeddings=embeddings[index],
                layout=layout,
                **self.hooks.extras(sink, hidden, want, index),
            )
            for index, layout in enumerate(layouts)
        ]

    def _require_tokenizer(self) -> None:
        """Refuse a tokenizer with which no question can be asked.

        Raises:
            ModelMismatchError: it is not that of the model.
        """
        ids = set(self.tokenizer.get_vocab().values())
        if self.image_token_id not in ids:
            fault = f"has no token {self.image_token_id}, which stands for the image"
        elif self.eos_id is None:
            fault = "has no token that ends an answer"
        elif max(ids - set(self._special)) >= len(self.hf.get_input_embeddings().weight):
            fault = "has more tokens than the model has embeddings"
        else:
            try:
                self.prompt_ids("a", first=True)
                self.unknown_words("a")
                return
            except InvalidQuestionError:
                fault = f"does not read the image's token {self._special[self.image_token_id]!r} as one"
        raise ModelMismatchError(
            f"The tokenizer of {self.name!r} {fault}; get config and tokenizer of the same model."
        )

    @cached_property
    def _special(self) -> dict[int, str]:
        """The tokens that no text may spell, by id: all that the tokenizer marks as special, and the image's.

        One that is only among the added tokens, as older tokenizers have them, is marked all the same.
        """
        tokenizer = self.tokenizer
        marked = {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        ids = {*tokenizer.all_special_ids, *marked, self.image_token_id}
        return {id_: tokenizer.convert_ids_to_tokens(id_) for id_ in ids}

    def prompt_ids(self, question: str, first: bool) -> list[int]:
        """The Vicuna template of LLaVA; the whole turn is tokenised at once, as the model was trained."""
        image = f"{self._special[self.image_token_id]}\n" if first else ""
        text = f"{self.system if first else ''}USER: {image}{self._literal(question)} ASSISTANT:"
        ids = self.tokenizer(text, add_special_tokens=first)["input_ids"]
        special = set(self._special) - {self.tokenizer.unk_token_id}
        begins = first and ids[0] == self.tokenizer.bos_token_id
        found = [token for token in ids[1 if begins else 0 :] if token in special]
        if found != ([self.image_token_id] if first else []):
            raise InvalidQuestionError("The question contains the model's control tokens; reword it.")
        return ids

    def _literal(self, text: str) -> str:
        """Text that spells no special token any more: a space breaks each after its first letter."""
        names = sorted(map(re.escape, self._special.values()), key=len, reverse=True)
        return re.sub(
            "|".join(names), lambda found: f"{found[0][0]} {found[0][1:]}", text, flags=re.IGNORECASE
        )

    def decode(self, ids: Sequence[int]) -> str:
        """See the base class."""
        return super().decode([id_ for id_ in ids if id_ not in self._special])

    def unknown_words(self, text: str) -> list[str]:
        """See the base class; empty for tokenizers that fall back to bytes."""
        encoded = self.tokenizer(self._literal(text), add_special_tokens=False, return_offsets_mapping=True)
        literal, unknown = self._literal(text), self.tokenizer.unk_token_id
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return bare_words(literal[start:end] for token, (start, end) in spans if token == unknown)
