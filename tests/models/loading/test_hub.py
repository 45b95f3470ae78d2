"""Downloads: from a server that answers as the Hub does, and the sentence for each way they fail."""

import errno
import json
import shutil
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, hf_hub_download, snapshot_download
from safetensors.torch import load_file, save_file

from compressor import load_model
from compressor.errors import ModelUnavailableError, UnknownModelError
from compressor.models.catalog import CARDS, FAMILIES
from compressor.models.loading import hub, memory
from tests.models.fake_hub import COMMIT, serve

pytestmark = pytest.mark.hub
OFFLINE = constants.HF_HUB_OFFLINE  # as the environment of this run says
FILES = FAMILIES["llava"].files
PART = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


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
def served(checkpoint, tmp_path):
    """The directory that is `owner/model`: the random LLaVA with a newer processor config, some code."""
    directory = shutil.copytree(checkpoint, tmp_path / "served")
    processor = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").unlink()
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    (directory / "modeling_evil.py").write_text("raise SystemExit")
    return directory


@pytest.fixture
def asked(served, at):
    """What a Hub was asked for."""
    server, asked = serve(served)
    at(f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def card(monkeypatch):
    """A model of the catalog whose repository is `owner/model`, on a machine with room for it."""
    made = replace(CARDS["llava-1.5-7b"], repository="owner/model")
    monkeypatch.setitem(CARDS, made.name, made)
    monkeypatch.setattr(memory, "memory", lambda *_: (10**12, 10**12))
    monkeypatch.setattr(memory, "disk_free", lambda directory: 10**12)
    return made


def download(*names, listed=True):
    """Has another program fetch files: together, which leaves a listing of the repository, or one by one."""
    if listed:
        return Path(snapshot_download("owner/model", allow_patterns=list(names)))
    files = [hf_hub_download("owner/model", name) for name in names]
    return Path(files[0]).parent


def in_shards(directory):
    """Splits the weights of a checkpoint into two files with an index; their names."""
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, shard in enumerate(shards):
        save_file(dict(list(weights.items())[number::2]), directory / shard, {"format": "pt"})
    weight_map = {key: shards[number % 2] for number, key in enumerate(weights)}
    index = {"metadata": {}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return shards


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


def test_the_environment_of_this_run_is_followed(asked, card, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", OFFLINE)
    if OFFLINE:
        with pytest.raises(ModelUnavailableError, match="check the network"):
            load_model(card.name, "cpu")
        assert asked == []
    else:
        assert load_model(card.name, "cpu").revision == COMMIT


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
    monkeypatch.setattr(memory, "memory", lambda *_: (10**12, 10**12))
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


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_here_needs_no_network(asked, at, card, monkeypatch, offline):
    assert "downloaded" in memory.check_memory(card, "cpu").sentence
    assert load_model(card.name, "cpu").name == card.name
    at("http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    assert memory.check_memory(card, "cpu") == memory.MemoryCheck(True, "Its files are here.")
    assert load_model(card.name, "cpu").revision == COMMIT


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("entry", ["catalog", "repository"])
def test_a_part_that_another_program_fetched_is_completed(asked, card, entry, listed):
    download(*PART, listed=listed)
    assert memory.check_memory(card, "cpu").sentence == (
        "A part of its files is here; the rest, about 14.1 GB, is downloaded when it is first loaded."
    )
    asked.clear()
    name = card.name if entry == "catalog" else "owner/model"
    assert load_model(name, "cpu", allow_hub=True).revision == COMMIT
    assert any(path.endswith("/model.safetensors") for path in asked)
    assert memory.check_memory(card, "cpu").sentence == "Its files are here."


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("shards_there", [0, 1])
def test_missing_shards_are_completed(served, asked, card, listed, shards_there):
    shards = in_shards(served)
    download(*PART, "model.safetensors.index.json", *shards[:shards_there], listed=listed)
    assert "A part of its files" in memory.check_memory(card, "cpu").sentence
    load_model(card.name, "cpu")
    assert hub.cached("owner/model", None, FILES)


def test_progress_counts_what_is_still_to_come(served, asked):
    shards = in_shards(served)
    download(*PART, "model.safetensors.index.json", *shards[:1])
    told = []
    hub.fetch("owner/model", None, FILES, lambda share, sentence: told.append(share))
    assert told[-1] == 1.0


def test_a_shard_without_its_index_is_a_part(served, asked, card):
    shards = in_shards(served)
    download(*PART, *shards, listed=False)
    assert "A part of its files" in memory.check_memory(card, "cpu").sentence
    assert load_model(card.name, "cpu").revision == COMMIT


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
def test_a_small_file_that_is_missing_is_completed(served, asked, card, name):
    everything = [file.name for file in served.iterdir() if file.suffix != ".py" and file.name != name]
    download(*everything, listed=False)
    assert "A part of its files" in memory.check_memory(card, "cpu").sentence
    assert load_model(card.name, "cpu").revision == COMMIT


def test_a_processors_config_may_be_without_the_image_processor(served, asked, card):
    """As in repositories older than this transformers, where another file holds it."""
    processor = json.loads((served / "processor_config.json").read_text())
    (served / "preprocessor_config.json").write_text(json.dumps(processor.pop("image_processor")))
    (served / "processor_config.json").write_text(json.dumps(processor))
    download(*PART, "model.safetensors", listed=False)
    assert "A part of its files" in memory.check_memory(card, "cpu").sentence
    assert load_model(card.name, "cpu").revision == COMMIT


def test_a_whole_checkpoint_of_an_older_client_needs_no_network(asked, card, at):
    download(*PART, "model.safetensors", listed=False)
    asked.clear()
    assert memory.check_memory(card, "cpu").sentence == "Its files are here."
    assert load_model(card.name, "cpu").revision == COMMIT
    assert load_model("owner/model", "cpu", allow_hub=True).revision == COMMIT
    assert asked == []


def test_a_checkpoint_that_lacks_nothing_needed_loads_without_the_hub(asked, card, at, caplog):
    """The listing names more, such as `generation_config.json`, which is fetched where the Hub answers."""
    download(*PART, "model.safetensors")
    at("http://127.0.0.1:9")
    assert load_model(card.name, "cpu").revision == COMMIT
    assert load_model("owner/model", "cpu", allow_hub=True).revision == COMMIT
    assert "Completing owner/model: ConnectError" in caplog.text


@pytest.mark.parametrize("offline", [False, True])
def test_a_part_without_the_hub_is_one_sentence(asked, card, at, monkeypatch, offline):
    download(*PART)
    at("http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(ModelUnavailableError, match="check the network"):
        load_model(card.name, "cpu")


def test_the_disk_has_to_hold_only_what_is_missing(served, asked, card, monkeypatch):
    shards = in_shards(served)
    directory = download(*PART, "model.safetensors.index.json", shards[0])
    here = (directory / shards[0]).stat().st_size
    monkeypatch.setattr(memory, "disk_free", lambda _: (card.memory_gb - here / 1e9) * 1e9)
    assert memory.check_memory(card, "cpu").fits
    monkeypatch.setattr(memory, "disk_free", lambda _: card.memory_gb * 1e9 - here - 1)
    assert not memory.check_memory(card, "cpu").fits


@pytest.mark.parametrize(
    ("name", "said"), [("model.safetensors", r"model\*\.safetensors"), ("tokenizer.json", r"tokenizer\.json")]
)
def test_a_repository_without_what_is_needed(served, asked, name, said):
    (served / name).unlink()
    with pytest.raises(ModelUnavailableError, match=rf"owner/model on the Hub has no {said}.*choose another"):
        load_model("owner/model", "cpu", allow_hub=True)
