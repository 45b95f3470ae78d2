"""The architecture and the tokenizer of the bundled model."""

import math
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from compressor.world import questions
from compressor.world.layout import (
    BACKGROUND_COLORS,
    CELLS,
    CLASSES,
    DIRECTIONS,
    DISC_COLORS,
    IMAGE_SIZE,
    NOTHING,
    PATTERNS,
)

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
PATCH = 14  # px
ROPE_THETA = 1e7  # so large that attention hardly weakens along the 256 image tokens


def vocabulary() -> list[str]:
    """Every word of the world, special tokens first; the order is the token id."""
    words = ["user", "assistant", ":", "?", ".", ",", "yes", "no", NOTHING]
    words += [*CLASSES, *CLASSES.values(), *CELLS, *DIRECTIONS, *DISC_COLORS, *BACKGROUND_COLORS, *PATTERNS]
    words += [str(number) for number in range(10)]
    for kind in questions.KINDS:
        words += questions.Question(kind, "cat", "left").text.removesuffix("?").split()
    return list(dict.fromkeys([*SPECIAL, *words, "an"]))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that lower-cases and takes "colour" for "color", "top left" for "top-left"."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    spelled = [normalizers.Replace("colour", "color")]
    spelled += [normalizers.Replace(cell.replace("-", " "), cell) for cell in CELLS if "-" in cell]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *spelled])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\w-]+|[^\w\s]"), "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", ids["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
        clean_up_tokenization_spaces=False,
    )


def build_config() -> LlavaConfig:
    """LLaVA-1.5 in small: feature layer -2, [CLS] dropped, a two-layer GELU projector."""
    words = vocabulary()
    vision = CLIPVisionConfig(
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=5,
        num_attention_heads=5,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=True,
        bos_token_id=words.index("<s>"),
        eos_token_id=words.index("</s>"),
        pad_token_id=words.index("<pad>"),
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.index("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_seq_length=(IMAGE_SIZE // PATCH) ** 2,
        tie_word_embeddings=True,
    )


def grid_positions(width: int, side: int) -> torch.Tensor:
    """Sines and cosines of row and column, (side * side, width): near patches start with like vectors."""
    frequencies = (2 * math.pi / side) * 2 ** torch.linspace(-1, 2.5, width // 4)
    phase = torch.arange(side)[:, None] * frequencies
    waves = torch.cat([phase.sin(), phase.cos()], 1)  # (side, width / 2)
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], -1).reshape(side * side, width)


def initialise(model: LlavaForConditionalGeneration, words: list[str], pairs: dict[str, str]) -> None:
    """Draws the weights of a new model.

    Word embeddings start with unit variance, the second word of each pair near the first; the final norm
    scales by 1 / sqrt(d). Queries start equal to keys: a token first attends to its likes,
    and in the vision tower, whose positions start as waves along rows and columns, to its neighbours.
    """
    language = model.model.language_model
    table = language.embed_tokens.weight.data.normal_(0, 1)
    for word, near in pairs.items():
        row = table[words.index(near)]
        row.mul_(0.3).add_(table[words.index(word)])
    language.norm.weight.data.fill_(language.config.hidden_size**-0.5)
    tower = model.model.vision_tower
    side = tower.config.image_size // tower.config.patch_size
    tower.embeddings.position_embedding.weight.data[1:] = 0.5 * grid_positions(tower.config.hidden_size, side)
    for layer in tower.encoder.layers:
        layer.self_attn.q_proj.weight.data.copy_(layer.self_attn.k_proj.weight.data.normal_(0, 0.08))
    for layer in language.layers:
        for weight in (w for name, w in layer.named_parameters() if name.endswith("proj.weight")):
            weight.data.normal_(0, weight.shape[1] ** -0.5)  # so that a layer speaks as loudly as the words
        layer.self_attn.q_proj.weight.data.copy_(layer.self_attn.k_proj.weight.data.normal_(0, 0.06))


def build_model() -> LlavaForConditionalGeneration:
    """A freshly initialised model, in float32."""
    model = LlavaForConditionalGeneration(build_config()).float()
    initialise(model, vocabulary(), CLASSES)
    return model


CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %} "
    "{% else %}ASSISTANT: {{ message['content'][0]['text'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def export(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a float16 checkpoint that the stock ``from_pretrained`` of model and processor reads."""
    model.half().save_pretrained(folder)
    side = model.config.vision_config.image_size
    images = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
