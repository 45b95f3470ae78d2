"""InternLM-XComposer-2.5 with the published numbers' weights, and a smaller one that a user could load."""

import json
from io import BytesIO

import pytest
import torch

from tests.models.published import arrays, text

SENTENCE = "user assistant: How many cats are there? What color is the dog? Is it red? yes no 0123456789"


@pytest.fixture(scope="session")
def published_config():
    return json.loads(text("weights", "config_json"))


@pytest.fixture(scope="session")
def published_tensors():
    return {key: tensor.float() for key, tensor in arrays("weights").items()}


@pytest.fixture(scope="session")
def published(published_config, published_tensors):
    """The model that the published numbers were computed with."""
    from compressor.models.xcomposer import from_checkpoint

    return from_checkpoint(published_config, published_tensors)


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
def xcomposer_checkpoint(tmp_path_factory, published_config, published_tensors, tokenizer_model):
    """Directory of a checkpoint whose tiles have 6 x 6 tokens; with branches that chat never uses."""
    directory = tmp_path_factory.mktemp("checkpoint") / "random-xcomposer"
    directory.mkdir()
    config = {**published_config, "model_type": "internlm2", "vocab_size": 340, "max_length": 4096}
    config["vision"] = {**config["vision"], "image_size": 168}
    draw = torch.Generator().manual_seed(0)
    tensors = {**published_tensors, **arrays("weights_unused")}
    for name in ("model.tok_embeddings.weight", "output.weight"):
        tensors[name] = torch.randn(340, 96, generator=draw) * 0.2
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
    return directory


@pytest.fixture(scope="session")
def xcomposer(xcomposer_checkpoint):
    """The random XComposer, loaded as a user loads a local checkpoint."""
    from compressor import load_model

    return load_model(xcomposer_checkpoint, device="cpu")
