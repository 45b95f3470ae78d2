"""What can be loaded, and the sentence a person gets for what cannot."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from compressor import list_models, load_model
from compressor.errors import ModelUnavailableError, UnknownModelError
from compressor.models import catalog


def test_the_catalog():
    cards = {card.name: card for card in list_models()}
    assert list(cards) == [
        "tiny",
        "llava-1.5-7b",
        "llava-1.5-13b",
        "llava-next-7b",
        "llava-next-13b",
        "xcomposer-2.5-7b",
    ]
    assert "only" in cards["tiny"].notice and cards["llava-1.5-7b"].image_tokens == 576


def test_a_local_directory_is_loaded(model, checkpoint):
    assert model.name == checkpoint.name and model.width == 48 and model.context_length == 256


@pytest.mark.parametrize("name", ["nope", "", "/nowhere/at/all"])
def test_unknown_names(name):
    with pytest.raises(UnknownModelError, match="tiny"):
        load_model(name)


def test_a_directory_of_another_family(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelUnavailableError, match="bert"):
        load_model(tmp_path)


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_a_checkpoint_without_weights(tmp_path, family):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(ModelUnavailableError, match=f"complete {catalog.FAMILIES[family].title}"):
        load_model(tmp_path)


def test_a_checkpoint_that_lacks_a_weight(tmp_path, next_checkpoint):
    directory = shutil.copytree(next_checkpoint, tmp_path / "copy")
    weights = load_file(directory / "model.safetensors")
    del weights[next(name for name in weights if name.endswith("image_newline"))]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 weights, such as .*image_newline"):
        load_model(directory)


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json"])
def test_a_broken_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelUnavailableError):
        load_model(tmp_path)


def test_the_bundled_model_when_its_files_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "MODELS", tmp_path)
    with pytest.raises(ModelUnavailableError, match="tiny"):
        load_model("tiny")


def test_a_model_that_cannot_fit_is_refused_before_any_download(monkeypatch):
    monkeypatch.setattr(catalog.os, "sysconf", lambda name: 1000)
    with pytest.raises(ModelUnavailableError, match="memory"):
        load_model("llava-1.5-7b", device="cpu")


def test_no_network_is_one_sentence(monkeypatch):
    monkeypatch.setattr(catalog, "require_memory", lambda *_: None)
    monkeypatch.setattr(
        "transformers.LlavaForConditionalGeneration.from_pretrained",
        lambda *a, **k: (_ for _ in ()).throw(OSError()),
    )
    with pytest.raises(ModelUnavailableError, match="network"):
        load_model("llava-1.5-7b", device="cpu")
