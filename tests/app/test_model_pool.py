"""The model pool: each model is loaded once, in the configuration that fits, and reports its progress."""

import os
import threading

import pytest

from app import model_pool
from app.handlers import choices
from app.model_pool import ModelPool, local_models
from compressor import MemoryCheck
from compressor.errors import InvalidOptionError, ModelUnavailableError, NoMemoryLeftError


def test_a_model_is_loaded_once_for_many(model):
    loads = []

    def load(name, progress):
        loads.append(name)
        return model

    pool = ModelPool(load)
    threads = [threading.Thread(target=pool.get, args=("tiny",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["tiny"]


def test_a_model_that_fails_to_load_blocks_nobody(model, caplog):
    def load(name, progress):
        raise ModelUnavailableError("Its files are missing.")

    pool = ModelPool(load)
    pool.warm("tiny").join(10)
    assert "Its files are missing." in caplog.text
    with pytest.raises(ModelUnavailableError):
        pool.get("tiny")


def test_the_log_says_why_a_model_could_not_be_loaded(caplog, tmp_path):
    def load(name, progress):
        raise KeyError("a bug")

    pool = ModelPool(load)
    with pytest.raises(KeyError):
        pool.get("tiny")
    assert "Loading tiny" in caplog.text and "KeyError: 'a bug'" in caplog.text and "in load" in caplog.text
    caplog.clear()
    (tmp_path / "config.json").write_text("{")
    (listing,) = ModelPool(load, {"broken": tmp_path}).listings[-1:]
    assert (
        "cannot be read" in listing.sentence
        and "Reading the config of broken: JSONDecodeError" in caplog.text
    )


def test_a_load_that_failed_is_tried_again(model):
    attempts = []

    def load(name, progress):
        attempts.append(name)
        if len(attempts) == 1:
            raise ModelUnavailableError("The Hub cannot be reached.")
        return model

    pool = ModelPool(load)
    list(pool.loading("tiny", 0.01))
    with pytest.raises(ModelUnavailableError):
        pool.get("tiny")
    assert len(attempts) == 1 and pool.get("tiny") is model and pool.get("tiny") is model
    assert len(attempts) == 2 and list(pool.loading("tiny")) == []


def test_two_visitors_see_the_progress_of_one_load(model):
    go_on, loads = threading.Event(), []

    def load(name, progress):
        loads.append(name)
        progress(0.5, "Reading")
        go_on.wait(20)
        return model

    pool = ModelPool(load)
    streams = [pool.loading("tiny", 0.01) for _ in range(2)]
    for stream in streams:
        while next(stream) != (0.5, "Reading"):
            pass
    go_on.set()
    assert all(text == (0.5, "Reading") for stream in streams for text in stream)
    assert loads == ["tiny"] and pool.get("tiny") is model


def test_models_that_nobody_uses_make_room(model):
    held, loads = set(), []

    def load(name, progress, **way):
        loads.append(name)
        if len(held) == 2:
            held.clear()  # what the model pool has forgotten is freed
            raise NoMemoryLeftError("The memory is full.")
        held.add(name)
        return model

    in_use = ["tiny"]
    pool = ModelPool(load, in_use=lambda: in_use)
    for name in ("tiny", "llava-1.5-7b", "llava-next-7b"):
        pool.get(name)
    assert loads == ["tiny", "llava-1.5-7b", "llava-next-7b", "llava-next-7b"]
    pool.get("tiny")
    assert len(loads) == 4  # a visitor chats with it: it was kept
    in_use = ["tiny", "llava-next-7b"]
    held.update(("tiny", "llava-next-7b"))
    with pytest.raises(NoMemoryLeftError, match="The memory is full"):
        pool.get("llava-1.5-7b")


def test_an_error_that_is_no_sentence_reaches_who_waits():
    def load(name, progress):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ModelPool(load).get("tiny")


def test_local_checkpoints_are_offered_by_the_name_of_their_directory(checkpoint, next_checkpoint):
    found = local_models(os.pathsep.join([str(checkpoint), str(next_checkpoint), ""]))
    assert found == {checkpoint.name: checkpoint, next_checkpoint.name: next_checkpoint}
    loads = []
    pool = ModelPool(lambda name, progress: loads.append(name), found)
    assert [name for _, name in choices.model_choices(pool)][-2:] == [checkpoint.name, next_checkpoint.name]
    assert str(checkpoint) not in str(pool.listings)
    pool.get(checkpoint.name)
    pool.get("llava-1.5-7b")
    assert loads == [checkpoint, "llava-1.5-7b"]


@pytest.mark.parametrize(
    ("names", "reason"), [(["nowhere"], "is not a directory"), (["a/m", "b/m"], "two models")]
)
def test_wrong_local_checkpoints_are_one_sentence(tmp_path, names, reason):
    for name in ("a/m", "b/m"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InvalidOptionError, match=reason):
        local_models(os.pathsep.join(str(tmp_path / name) for name in names))


def test_a_local_checkpoint_cannot_take_a_catalog_name(tmp_path):
    (tmp_path / "tiny").mkdir()
    with pytest.raises(InvalidOptionError, match="'tiny'"):
        local_models(str(tmp_path / "tiny"))


def test_a_model_is_loaded_in_the_way_in_which_it_fits(monkeypatch):
    packed = {"four_bit": True}
    monkeypatch.setattr(
        model_pool,
        "best_load_options",
        lambda card: (MemoryCheck(True, ""), packed if card.four_bit_gb else {}),
    )
    asked = []
    pool = ModelPool(lambda name, progress, **way: asked.append((name, way)))
    assert "LLaVA-1.5 7B, 4.5 GB in 4-bit" in dict(choices.model_choices(pool))
    pool.get("llava-1.5-7b")
    assert asked == [("llava-1.5-7b", {"four_bit": True})]


def test_a_local_checkpoint_is_offered_in_the_way_in_which_it_fits(checkpoint, monkeypatch):
    packed = {"four_bit": True}
    monkeypatch.setattr(
        model_pool,
        "best_load_options",
        lambda card: (MemoryCheck(True, ""), packed if card.name == "mine" else {}),
    )
    asked = []
    pool = ModelPool(lambda source, progress, **way: asked.append((source, way)), {"mine": checkpoint})
    assert any(label.endswith("in 4-bit") for label, name in choices.model_choices(pool) if name == "mine")
    pool.get("mine")
    assert asked == [(checkpoint, packed)]


def test_a_local_directory_that_is_no_checkpoint_says_why(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    pool = ModelPool(local={"mine": tmp_path})
    assert ("mine (not here)", "mine") in choices.model_choices(pool)
    assert "config.json of &#x27;mine&#x27; cannot be read" in choices.models_here(pool)
