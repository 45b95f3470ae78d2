"""The shelf: each model is loaded once, in the way in which it fits, and says how far it is."""

import os
import threading

import pytest

from app import model_pool
from app.handlers import choices
from app.model_pool import Shelf, local_models
from compressor import MemoryCheck
from compressor.errors import InvalidOptionError, ModelUnavailableError, NoMemoryLeftError


def test_a_model_is_loaded_once_for_many(model):
    loads = []

    def load(name, progress):
        loads.append(name)
        return model

    shelf = Shelf(load)
    threads = [threading.Thread(target=shelf.get, args=("tiny",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == ["tiny"]


def test_a_model_that_fails_to_load_blocks_nobody(model, caplog):
    def load(name, progress):
        raise ModelUnavailableError("Its files are missing.")

    shelf = Shelf(load)
    shelf.warm("tiny").join(10)
    assert "Its files are missing." in caplog.text
    with pytest.raises(ModelUnavailableError):
        shelf.get("tiny")


def test_the_log_says_why_a_model_could_not_be_loaded(caplog, tmp_path):
    def load(name, progress):
        raise KeyError("a bug")

    shelf = Shelf(load)
    with pytest.raises(KeyError):
        shelf.get("tiny")
    assert "Loading tiny" in caplog.text and "KeyError: 'a bug'" in caplog.text and "in load" in caplog.text
    caplog.clear()
    (tmp_path / "config.json").write_text("{")
    (offer,) = Shelf(load, {"broken": tmp_path}).offers[-1:]
    assert (
        "cannot be read" in offer.sentence and "Reading the config of broken: JSONDecodeError" in caplog.text
    )


def test_a_load_that_failed_is_tried_again(model):
    attempts = []

    def load(name, progress):
        attempts.append(name)
        if len(attempts) == 1:
            raise ModelUnavailableError("The Hub cannot be reached.")
        return model

    shelf = Shelf(load)
    list(shelf.loading("tiny", 0.01))
    with pytest.raises(ModelUnavailableError):
        shelf.get("tiny")
    assert len(attempts) == 1 and shelf.get("tiny") is model and shelf.get("tiny") is model
    assert len(attempts) == 2 and list(shelf.loading("tiny")) == []


def test_two_visitors_see_the_progress_of_one_load(model):
    go_on, loads = threading.Event(), []

    def load(name, progress):
        loads.append(name)
        progress(0.5, "Reading")
        go_on.wait(20)
        return model

    shelf = Shelf(load)
    streams = [shelf.loading("tiny", 0.01) for _ in range(2)]
    for stream in streams:
        while next(stream) != (0.5, "Reading"):
            pass
    go_on.set()
    assert all(told == (0.5, "Reading") for stream in streams for told in stream)
    assert loads == ["tiny"] and shelf.get("tiny") is model


def test_models_that_nobody_uses_make_room(model):
    held, loads = set(), []

    def load(name, progress, **way):
        loads.append(name)
        if len(held) == 2:
            held.clear()  # what the shelf has forgotten is freed
            raise NoMemoryLeftError("The memory is full.")
        held.add(name)
        return model

    in_use = ["tiny"]
    shelf = Shelf(load, in_use=lambda: in_use)
    for name in ("tiny", "llava-1.5-7b", "llava-next-7b"):
        shelf.get(name)
    assert loads == ["tiny", "llava-1.5-7b", "llava-next-7b", "llava-next-7b"]
    shelf.get("tiny")
    assert len(loads) == 4  # a visitor chats with it: it was kept
    in_use = ["tiny", "llava-next-7b"]
    held.update(("tiny", "llava-next-7b"))
    with pytest.raises(NoMemoryLeftError, match="The memory is full"):
        shelf.get("llava-1.5-7b")


def test_an_error_that_is_no_sentence_reaches_who_waits():
    def load(name, progress):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Shelf(load).get("tiny")


def test_local_checkpoints_are_offered_by_the_name_of_their_directory(checkpoint, next_checkpoint):
    found = local_models(os.pathsep.join([str(checkpoint), str(next_checkpoint), ""]))
    assert found == {checkpoint.name: checkpoint, next_checkpoint.name: next_checkpoint}
    loads = []
    shelf = Shelf(lambda name, progress: loads.append(name), found)
    assert [name for _, name in choices.model_choices(shelf)][-2:] == [checkpoint.name, next_checkpoint.name]
    assert str(checkpoint) not in str(shelf.offers)
    shelf.get(checkpoint.name)
    shelf.get("llava-1.5-7b")
    assert loads == [checkpoint, "llava-1.5-7b"]


@pytest.mark.parametrize(("names", "reason"), [(["nowhere"], "no directory"), (["a/m", "b/m"], "two models")])
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
    shelf = Shelf(lambda name, progress, **way: asked.append((name, way)))
    assert "LLaVA-1.5 7B, 4.5 GB in 4-bit" in dict(choices.model_choices(shelf))
    shelf.get("llava-1.5-7b")
    assert asked == [("llava-1.5-7b", {"four_bit": True})]


def test_a_local_checkpoint_is_offered_in_the_way_in_which_it_fits(checkpoint, monkeypatch):
    packed = {"four_bit": True}
    monkeypatch.setattr(
        model_pool,
        "best_load_options",
        lambda card: (MemoryCheck(True, ""), packed if card.name == "mine" else {}),
    )
    asked = []
    shelf = Shelf(lambda source, progress, **way: asked.append((source, way)), {"mine": checkpoint})
    assert any(label.endswith("in 4-bit") for label, name in choices.model_choices(shelf) if name == "mine")
    shelf.get("mine")
    assert asked == [(checkpoint, packed)]


def test_a_local_directory_that_is_no_checkpoint_says_why(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    shelf = Shelf(local={"mine": tmp_path})
    assert ("mine (not here)", "mine") in choices.model_choices(shelf)
    assert "config.json of &#x27;mine&#x27; cannot be read" in choices.models_here(shelf)
