"""The architecture and the tokenizer of ``small``."""

import re
from functools import lru_cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from compressor.training.bundled.model import PATCH, ROPE_THETA, SPECIAL, initialise
from compressor.world.dense import questions, sentences
from compressor.world.dense.layout import (
    COLORS,
    COLUMNS,
    DIRECTIONS,
    GROUNDS,
    IMAGE_SIZE,
    NAMES,
    ROWS,
    SHAPES,
    SIDES,
    SIGN_DIGITS,
    SIGN_LETTERS,
    SIZES,
)

BRIEFLY = "briefly"  # the one token that "Answer in one word" becomes
USER, ASSISTANT = "user:", "assistant:"
_LOWER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_OPENINGS = ("There", "The", "It", "In", "I", "Yes", "No", "On", "Nothing", "Ask")
_PUNCTUATION = ".,?!:;'\"()-/&%+*=#@$"


@lru_cache(maxsize=1)
def vocabulary() -> list[str]:
    """Every token, special ones first; the order is the token id.

    What no word covers is split into characters. A place is two tokens, such as "top" and "##-left", and a
    sign up to three, such as "K", "##7" and "##M".
    """
    words = [USER, ASSISTANT, BRIEFLY, *_PUNCTUATION, *_OPENINGS, "yes", "no", sentences.NOTHING]
    words += [*NAMES, *NAMES.values(), *COLORS, *SHAPES, *SIZES, *GROUNDS, *ROWS, *COLUMNS, *SIDES]
    words += [f"##-{column}" for column in COLUMNS]
    words += [*SIGN_LETTERS, *(f"##{letter}" for letter in SIGN_DIGITS + SIGN_LETTERS)]
    words += [*sentences.NUMBERS, *sentences.SHORT_NUMBERS]
    texts = [wording for wordings in questions.WORDINGS.values() for wording in wordings]
    texts += [
        sentences.UNKNOWN.lower(),
        *DIRECTIONS,
        "there is are a an and in on the that says says of them object",
    ]
    texts += ["objects has same as smaller larger than nearest to ground side picture"]
    for text in texts:
        words += re.findall(r"[a-z]+", re.sub(r"{\w+}", "", text))
    words += [*_LOWER, *_DIGITS, *(f"##{letter}" for letter in _LOWER + _DIGITS + "-_")]
    return list(dict.fromkeys([*SPECIAL, *words]))


def _normalizer() -> normalizers.Normalizer:
    """Lower case but for signs and for how answers open; spellings of places and of the short form as one."""
    replace = normalizers.Replace
    rules = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    rules += [replace(Regex(r"[^\x00-\x7f]"), "?"), replace("colour", "color")]
    rules += [replace(f"{row} {column}", f"{row}-{column}") for row in ROWS for column in COLUMNS]
    rules += [
        replace(Regex(r"\bthe center\b"), "the middle-center"),
        replace(Regex(r"(?:please )?answer (?:in|with) (?:one|a single) word"), BRIEFLY),
    ]
    letters = f"[{SIGN_LETTERS.lower()}]"
    for letter in SIGN_LETTERS:
        rules.append(replace(Regex(rf"\b{letter.lower()}(?=[2-9]{letters}?\b)"), letter))
    for letter in SIGN_LETTERS:
        rules.append(replace(Regex(rf"(?<=\b[{SIGN_LETTERS}][2-9]){letter.lower()}\b"), letter))
    for word in _OPENINGS:  # "yes" alone is a short answer
        opening = word.lower() + (r"(?=,)" if word in ("Yes", "No") else r"(?= )")
        rules += [
            replace(Regex(rf"(?<={before}){opening}"), word) for before in ("assistant: ", r"[a-zA-Z0-9]\. ")
        ]
    return normalizers.Sequence(rules)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words and, for what is no word of the world, characters."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="<unk>", max_input_chars_per_word=10_000))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"(?:user|assistant):|\w+(?:-\w+)*|[^\w\s]"), "removed", invert=True
    )
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
    """LLaVA-1.5 in small: 24 x 24 patches, feature layer -2, [CLS] dropped, a two-layer GELU projector."""
    words = vocabulary()
    vision = CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=4096,
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


def build_model() -> LlavaForConditionalGeneration:
    """A freshly initialised model, in float32."""
    model = LlavaForConditionalGeneration(build_config()).float()
    pairs = dict(NAMES) | {word.lower(): word for word in _OPENINGS if word.lower() in vocabulary()}
    initialise(model, vocabulary(), pairs)
    return model
