"""Downloads: from a server that answers as the Hub does, and the sentence for each way they fail."""

import errno
import shutil
import socket
import threading
import time

import pytest
import torch
from huggingface_hub import constants

from compressor import load_model
from compressor.errors import ModelUnavailableError, UnknownModelError
from compressor.models import hub, machine
from compressor.models.catalog import CARDS
from tests.models.fake_hub import COMMIT, serve

FILES = ("*.json", "*.safetensors")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def at(monkeypatch):
    """Sends the client to an address."""

    def at(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    return at


@pytest.fixture
def asked(checkpoint, tmp_path, at):
    """What a Hub, whose `owner/model` is the random LLaVA and some code, was asked for."""
    directory = shutil.copytree(checkpoint, tmp_path / "served")
    (directory / "modeling_evil.py").write_text("raise SystemExit")
    server, asked = serve(directory)
    at(f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def test_a_repository_is_downloaded_once_and_without_its_code(asked, model, image):
    told = []
    found = load_model(
        "owner/model", "cpu", allow_hub=True, progress=lambda share, text: told.append((share, text))
    )
    assert found.revision == COMMIT and found.name == "model"
    assert torch.equal(found.encode(image).embeddings, model.encode(image).embeddings)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and any(0 < share < 0.8 for share in shares)
    assert "Downloading owner/model" in told[0][1] and told[-1][1] == "owner/model is ready"
    assert any(path.endswith("model.safetensors") for path in asked)
    assert not any(path.endswith(".py") for path in asked)
    asked.clear()
    load_model("owner/model", "cpu", allow_hub=True)
    assert asked == []


def test_a_broken_download_goes_on(asked):
    directory = hub.fetch("owner/model", None, FILES)
    (directory / "model.safetensors").unlink()
    assert hub.cached("owner/model", None, FILES) is None
    assert (hub.fetch("owner/model", None, FILES) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("repository", "revision", "said"),
    [
        ("owner/gated", None, "accept them on its page"),
        ("owner/nothing", None, "no repository 'owner/nothing'"),
        ("owner/model", "gone", "no revision 'gone'"),
        ("not/a/name", None, "no repository 'not/a/name'"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(asked, repository, revision, said):
    with pytest.raises(ModelUnavailableError, match=said):
        hub.fetch(repository, revision, FILES)


def test_the_page_cannot_have_any_repository_downloaded(asked):
    with pytest.raises(UnknownModelError, match="choose one of tiny"):
        load_model("owner/model", "cpu")
    assert asked == []


def test_a_full_disk(asked, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(ModelUnavailableError, match=r"No space left.*HF_HOME"):
        hub.fetch("owner/model", None, FILES)


def test_no_network_is_one_sentence_and_soon(at, monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda *_: (10**12, 10**12))
    at("http://127.0.0.1:9")
    with pytest.raises(ModelUnavailableError, match="check the network"):
        load_model("llava-1.5-7b", "cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match="check the network"):
        load_model("llava-1.5-7b", "cpu")


def test_a_network_that_never_answers_is_not_waited_for(at, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(ModelUnavailableError, match="check the network"):
            hub.fetch("owner/model", None, FILES)
    assert time.monotonic() - start < 5


def test_a_name_whose_look_up_hangs_is_not_waited_for(asked, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT_S", 0.2)
    hung = threading.Event()
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *args, **options: hung.wait(60))
    start = time.monotonic()
    with pytest.raises(ModelUnavailableError, match="check the network"):
        hub.fetch("owner/model", None, FILES)
    assert time.monotonic() - start < 5
    hung.set()


def test_what_is_here_needs_no_network(asked, at, monkeypatch):
    card = CARDS["llava-1.5-7b"]
    monkeypatch.setitem(CARDS, card.name, type(card)(**{**vars(card), "repository": "owner/model"}))
    monkeypatch.setattr(machine, "memory", lambda *_: (10**12, 10**12))
    assert "downloaded" in machine.fit(CARDS[card.name], "cpu").sentence
    assert load_model(card.name, "cpu").name == card.name
    at("http://127.0.0.1:9")
    assert machine.fit(CARDS[card.name], "cpu") == machine.Fit(True, "Its files are here.")
    assert load_model(card.name, "cpu").revision == COMMIT
