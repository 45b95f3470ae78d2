"""Tiny random models of every family, saved and loaded through the real path."""

import json
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    PreTrainedTokenizerFast,
)

from tests.models.published import arrays, text

settings.register_profile("untimed", deadline=None)  # how busy a machine is, is no property of the code
settings.load_profile("untimed")

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
WORDS = (
    "user assistant : ? . , how many cats are there what color is the dog it yes no red blue < > / s image"
)


def pytest_addoption(parser):
    group = parser.getgroup("long", "how much the tests marked long do")
    group.addoption("--damaged-files", type=int, default=20_000, help="picture files to damage and decode")
    group.addoption("--damage-seed", type=int, default=0, help="of the damage")
    group.addoption("--walk-runs", type=int, default=1, help="random walks through the page in a browser")
    group.addoption("--walk-seed", type=int, default=0, help="of the first of them; each adds one")
    group.addoption("--walk-actions", type=int, default=20, help="in each of them")
    group.addoption("--overtakings", type=int, default=30, help="changes made while an answer is written")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)


def _tokenizer() -> PreTrainedTokenizerFast:
    ids = {word: index for index, word in enumerate(SPECIAL + WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\w-]+|[^\w\s]"), "removed", invert=True)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", ids["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=["<image>"],
    )


def _parts(vocabulary: int, image_size: int, context: int, width: int = 48) -> dict:
    """Configurations of a vision tower and a language model."""
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=14,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    return {"vision_config": vision, "text_config": text, "image_token_index": 4}


def _save(directory, model, tokenizer, processor) -> None:
    for parameter in model.parameters():  # the default spread of 0.02 gives almost uniform logits
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    with torch.no_grad():
        model.lm_head.weight[model.config.image_token_id] = 0.0  # no answer says <image>
    for part in (model, tokenizer, processor):
        part.save_pretrained(directory)


def _save_llava(directory, width: int = 48) -> None:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = LlavaConfig(**_parts(len(tokenizer), 56, 256, width), image_seq_length=16)
    processor = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    _save(directory, LlavaForConditionalGeneration(config), tokenizer, processor)


def _save_llava_next(directory, width: int = 48) -> None:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    pinpoints = [[84, 168], [168, 84], [168, 168], [252, 84], [84, 252]]
    config = LlavaNextConfig(**_parts(len(tokenizer), 84, 1024, width), image_grid_pinpoints=pinpoints)
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": 84}, crop_size={"height": 84, "width": 84}, image_grid_pinpoints=pinpoints
    )
    _save(directory, LlavaNextForConditionalGeneration(config), tokenizer, processor)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Directory of a random LLaVA with 16 image tokens."""
    directory = tmp_path_factory.mktemp("checkpoint") / "random-llava"
    _save_llava(directory)
    return directory


@pytest.fixture(scope="session")
def wide_checkpoint(tmp_path_factory):
    """The same with matrices whose sides are multiples of 64, as those of published models are."""
    directory = tmp_path_factory.mktemp("checkpoint") / "wide-llava"
    _save_llava(directory, width=128)
    return directory


@pytest.fixture(scope="session")
def next_checkpoint(tmp_path_factory):
    """Directory of a random LLaVA-NeXT whose views have 36 tokens each."""
    directory = tmp_path_factory.mktemp("checkpoint") / "random-llava-next"
    _save_llava_next(directory)
    return directory


@pytest.fixture(scope="session")
def wide_next_checkpoint(tmp_path_factory):
    """The same with matrices whose sides are multiples of 64."""
    directory = tmp_path_factory.mktemp("checkpoint") / "wide-llava-next"
    _save_llava_next(directory, width=128)
    return directory


@pytest.fixture(scope="session")
def model(checkpoint):
    """The random LLaVA, loaded as a user loads a local checkpoint."""
    from compressor import load_model

    return load_model(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def next_model(next_checkpoint):
    """The random LLaVA-NeXT, loaded as a user loads a local checkpoint."""
    from compressor import load_model

    return load_model(next_checkpoint, device="cpu")


@pytest.fixture(scope="session")
def tiny():
    """The bundled model."""
    from compressor import load_model

    return load_model("tiny", device="cpu")


@pytest.fixture(params=["random", "tiny"])
def any_model(request):
    """The random LLaVA, and the bundled model in float64: its logits reach 25, float32 resolves 2e-6."""
    import compressor

    if request.param == "random":
        return request.getfixturevalue("model")
    return compressor.load_model("tiny", device="cpu", dtype=torch.float64)


@pytest.fixture
def image():
    """A picture of 80 × 60 px whose colour tells the place."""
    y, x = np.mgrid[0:60, 0:80]
    return Image.fromarray(np.stack([x * 3, y * 4, (x + y) % 7 * 30], axis=-1).astype(np.uint8))


SMALL_TEXT = {
    "vocab_size": 128,
    "max_position_embeddings": 512,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
SMALL_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture(scope="session")
def small_builder():
    """Builds a scaled-down LLaVA with 64 image tokens the way the full-size ones are built."""
    from compressor.models.families.llava.random_weights import build

    return partial(build, SMALL_TEXT, {**SMALL_VISION, "image_size": 112, "patch_size": 14})


@pytest.fixture(scope="session")
def small_llava(small_builder):
    """A scaled-down LLaVA with random weights and no checkpoint."""
    return small_builder("small", torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def small_next():
    """A scaled-down LLaVA-NeXT with random weights, 36 tokens a view."""
    from compressor.models.families.llava_next.random_weights import build

    vision = {**SMALL_VISION, "image_size": 336, "patch_size": 56}
    return build(SMALL_TEXT, vision, "small-next", torch.device("cpu"), torch.float32)


@pytest.fixture(scope="session")
def small_xcomposer():
    """A scaled-down XComposer with random weights and no checkpoint, 36 tokens a view."""
    from compressor.models.families.xcomposer.random_weights import build

    config = {**SMALL_TEXT, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    config |= {"plora_rank": 8, "vision": {**SMALL_VISION, "image_size": 84, "patch_size": 7}}
    return build(config, "small-xcomposer", torch.device("cpu"), torch.float32)


SENTENCE = "user assistant: How many cats are there? What color is the dog? Is it red? yes no 0123456789"


@pytest.fixture(scope="session")
def published_config():
    return json.loads(text("weights", "config_json"))


@pytest.fixture(scope="session")
def published_tensors():
    return {key: tensor.float() for key, tensor in arrays("weights").items()}


@pytest.fixture(scope="session")
def tokenizer_model():
    """The bytes of a small tokenizer.model of InternLM2's kind."""
    from sentencepiece import SentencePieceTrainer

    written = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([SENTENCE] * 20),
        model_writer=written,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        user_defined_symbols=["[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]"],
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()


@pytest.fixture(scope="session")
def wide_config(published_config):
    """Sizes of an XComposer whose matrices have sides that are multiples of 32, and of 64 where they read."""
    return {**published_config, "hidden_size": 128, "num_attention_heads": 8}


@pytest.fixture(scope="session")
def wide_tensors(published_tensors):
    """Random weights of these sizes, spread as the published ones."""
    draw, wider = torch.Generator().manual_seed(0), {96: 128, 160: 192}
    return {
        name: torch.randn([wider.get(side, side) for side in tensor.shape], generator=draw) * tensor.std()
        if tensor.ndim > 1
        else tensor.mean().expand(wider.get(len(tensor), len(tensor))).clone()
        for name, tensor in published_tensors.items()
    }


def _save_xcomposer(directory, config, tensors, tokenizer_model) -> None:
    """A checkpoint whose tiles have 6 x 6 tokens, in two shards."""
    directory.mkdir()
    config = {**config, "model_type": "internlm2", "vocab_size": 340, "max_length": 4096}
    config |= {"torch_dtype": "float32", "vision": {**config["vision"], "image_size": 168}}
    draw = torch.Generator().manual_seed(0)
    for name in ("model.tok_embeddings.weight", "output.weight"):
        tensors[name] = torch.randn(340, config["hidden_size"], generator=draw) * 0.2
    name = "vit.vision_tower.vision_model.embeddings.position_embedding.weight"
    tensors[name] = tensors[name][:145].clone()
    names, weight_map = list(tensors), {}
    for number in (0, 1):
        shard = f"pytorch_model-0000{number + 1}-of-00002.bin"
        torch.save({key: tensors[key] for key in names[number::2]}, directory / shard)
        weight_map |= dict.fromkeys(names[number::2], shard)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.model").write_bytes(tokenizer_model)


@pytest.fixture(scope="session")
def xcomposer_checkpoint(tmp_path_factory, published_config, published_tensors, tokenizer_model):
    """Directory of a checkpoint whose tiles have 6 x 6 tokens; with branches that chat never uses."""
    directory = tmp_path_factory.mktemp("checkpoint") / "random-xcomposer"
    tensors = {**published_tensors, **arrays("weights_unused")}
    _save_xcomposer(directory, published_config, tensors, tokenizer_model)
    return directory


@pytest.fixture(scope="session")
def wide_xcomposer_checkpoint(tmp_path_factory, wide_config, wide_tensors, tokenizer_model):
    """Directory of a checkpoint with the sizes of `wide_config`."""
    directory = tmp_path_factory.mktemp("checkpoint") / "wide-xcomposer"
    _save_xcomposer(directory, wide_config, {**wide_tensors}, tokenizer_model)
    return directory


@pytest.fixture(scope="session")
def xcomposer(xcomposer_checkpoint):
    """The random XComposer, loaded as a user loads a local checkpoint."""
    from compressor import load_model

    return load_model(xcomposer_checkpoint, device="cpu")
