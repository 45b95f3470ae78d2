"""Adding a family is one folder and one catalog entry: a toy family loads, encodes, chats and is listed."""

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from compressor import ChatSession, list_models, load_model
from compressor.models import families
from compressor.models.catalog import CARDS, FAMILIES
from compressor.models.random_weights import random_model, random_model_names
from tests.models.toy_family.catalog_entry import ENTRY


@pytest.fixture(autouse=True)
def _added(monkeypatch):
    """The folder as if it lay in families/, and the entry as if it stood in the catalog."""
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(Path(__file__).parent)])
    for key, family in ENTRY.items():
        monkeypatch.setitem(FAMILIES, key, family)
        for card in family.cards:
            monkeypatch.setitem(CARDS, card.name, card)


@pytest.fixture
def toy():
    return random_model("toy-1", "cpu", seed=1)


def test_it_is_listed():
    assert list_models()[-1].title == "Toy 1" and random_model_names()[-1] == "toy-1"


def test_it_loads_from_a_directory(tmp_path, toy, image):
    from compressor.models.families.toy_family.random_weights import CONFIG

    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(toy.hf.state_dict(), tmp_path / "model.safetensors")
    loaded = load_model(tmp_path, "cpu", toy.dtype)
    assert loaded.family == "toy" and loaded.directory == tmp_path
    assert loaded.encode(image).embeddings.equal(toy.encode(image).embeddings)


def test_it_encodes(toy, image):
    tokens = toy.encode(image)
    assert len(tokens) == len(tokens.layout) == CARDS["toy-1"].image_tokens
    assert tokens.layout.size == image.size and tokens.embeddings.shape == (16, toy.width)


def test_it_chats(toy, image):
    chat = ChatSession(toy, image, "spatial", rate=0.75)
    answer = "".join(chat.ask("What is it?", max_new_tokens=4))
    assert isinstance(answer, str) and len(chat.turns) == 1 and chat.projection.m == 4
