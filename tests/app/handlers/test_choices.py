"""The left column: pictures, models, methods, rates, and that whatever fails leaves everything as it was."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from app import model_pool, settings
from app.handlers import chat, choices
from app.model_pool import Shelf
from app.user_session import Visit
from compressor import MemoryCheck, list_methods, list_models, token_budget
from compressor.errors import (
    ImageError,
    InvalidOptionError,
    ModelUnavailableError,
    StudioError,
    UnknownModelError,
)
from compressor.geometry import ROW_SEPARATOR


def snapshot(visit: Visit) -> tuple:
    return visit.image, visit.scene, visit.chat, visit.model, visit.method, visit.rate, len(visit.chat.turns)


def choose_model(visit, shelf, name):
    list(choices.await_model(visit, shelf, name))
    choices.choose_model(visit, shelf, name)


def test_new_scenes_are_held_out_and_differ(visit, shelf):
    first = visit.scene
    choices.new_scene(visit, shelf)
    assert visit.scene.seed >= choices.scenes.HELD_OUT and visit.scene.seed != first.seed
    assert visit.image is visit.scene.image and visit.chat.turns == []


def test_an_upload_starts_a_chat(visit, shelf, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (90, 60), "teal").save(path)
    choices.upload(visit, shelf, str(path))
    assert visit.image.size == (90, 60) and visit.scene is None
    assert visit.chat.projection.layout.size == (90, 60)


def test_a_bad_upload_leaves_picture_chat_and_settings(visit, shelf, tmp_path):
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    before = snapshot(visit)
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        choices.upload(visit, shelf, str(path))
    assert snapshot(visit) == before


@pytest.mark.parametrize("title", settings.PHOTOGRAPHS)
def test_photographs_are_shown_with_the_models_limits(visit, shelf, title):
    choices.photograph(visit, shelf, title)
    view = choices.view(visit, shelf)
    assert "knows only its own world" in view.notice
    assert choices.picture(visit).picture.width > 300
    assert settings.PHOTOGRAPHS[title].stat().st_size <= 300_000


def test_a_scene_needs_no_notice(visit, shelf):
    assert choices.view(visit, shelf).notice == ""


def test_removing_the_picture_ends_the_chat(visit, shelf):
    choices.remove_picture(visit, shelf)
    view = choices.view(visit, shelf)
    assert choices.picture(visit).picture is None and view.rate_line == "" and visit.chat is None
    choices.retune(visit, shelf, "sample", 50)  # the settings can still be chosen
    choose_model(visit, shelf, "tiny")
    choices.new_scene(visit, shelf)
    assert visit.chat.projection.m == 8


NEED_33_PATCHES = {"prumerge", "prumerge+"}  # the picture has 16


@pytest.mark.parametrize("method", sorted(NEED_33_PATCHES))
def test_a_method_that_cannot_compress_the_picture_changes_nothing(visit, shelf, method):
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    before = visit.chat.projection.weights
    with pytest.raises(StudioError, match="at least 33 patches"):
        choices.retune(visit, shelf, method, 75)
    assert (visit.method, visit.rate) == ("metacompress", 0.9) == (visit.chat.method.name, visit.chat.rate)
    assert torch.equal(visit.chat.projection.weights, before) and len(visit.chat.turns) == 1
    list(chat.regenerate(visit, max_new_tokens=2))
    assert visit.chat.turns[0].answer is not None


@pytest.mark.parametrize("method", [info.name for info in list_methods() if info.name not in NEED_33_PATCHES])
@pytest.mark.parametrize("percent", [0, 50, 99])
def test_retune_changes_the_sessions_own_projection(visit, shelf, method, percent):
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    choices.retune(visit, shelf, method, percent)
    view = choices.view(visit, shelf)
    m = 16 if method == "none" else token_budget(16, percent / 100)
    assert visit.chat.image_tokens == m and len(visit.chat.turns) == 1
    rate = "no compression" if method == "none" else f"{percent}%"
    assert view.method == method and f'<span class="rate">{rate}</span>' in view.rate_line
    assert f'16 → <span class="m">{m}</span>' in view.rate_line


@pytest.mark.parametrize(("method", "percent"), [("sample", 100), ("sample", -1), ("nonsense", 50)])
def test_settings_out_of_range_change_nothing(visit, shelf, method, percent):
    before = snapshot(visit)
    with pytest.raises(StudioError):
        choices.retune(visit, shelf, method, percent)
    assert snapshot(visit) == before


@pytest.mark.parametrize("place", ["encode_batch", "compress"])
def test_whatever_fails_in_a_change_leaves_visit_and_chat_alike(visit, shelf, monkeypatch, place):
    list(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    held, before = visit.chat, snapshot(visit)

    def fail(*values):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as broken:
        broken.setattr(type(visit.chat.model), place, fail)
        with pytest.raises(torch.OutOfMemoryError):
            choices.new_scene(visit, shelf)
        if place == "compress":
            with pytest.raises(torch.OutOfMemoryError):
                choices.retune(visit, shelf, "sample", 50)
    assert snapshot(visit) == before and not visit.busy.locked()
    assert (held.method.name, held.rate) == (visit.method, visit.rate)
    list(chat.ask(visit, "is it red", max_new_tokens=4))
    assert len(visit.chat.turns) == 2 and visit.chat.turns[1].stats.image_tokens == held.projection.m


def test_retune_interrupts_a_running_answer(visit, shelf):
    answering = chat.ask(visit, "how many cats are there", max_new_tokens=150)
    next(answering)
    consumer = threading.Thread(target=lambda: list(answering))
    consumer.start()
    choices.retune(visit, shelf, "sample", 25)
    consumer.join(20)
    assert visit.chat.projection.m == 12 and not visit.busy.locked()
    assert len(visit.chat.turns) == 1


def test_the_slider_is_told_every_budget(visit, shelf):
    choices.retune(visit, shelf, "sample", 30)
    line = choices.rate_line(visit)
    budgets = line.split('data-budgets="')[1].split('"')[0].split(",")
    assert [int(budget) for budget in budgets] == [token_budget(16, percent / 100) for percent in range(100)]


def test_all_models_are_listed_and_one_that_does_not_fit_explains_itself(visit, model):
    def load(name, progress):
        if name == "tiny":
            return model
        raise ModelUnavailableError("It needs 14 GB.")

    names = [name for _, name in choices.model_choices(Shelf(load))]
    assert names == [card.name for card in list_models()]
    before = snapshot(visit)
    with pytest.raises(ModelUnavailableError, match="14 GB"):
        choose_model(visit, Shelf(load), "llava-1.5-7b")
    assert snapshot(visit) == before
    visit.problem = "It needs 14 GB."
    assert "14 GB" in choices.view(visit, Shelf(load)).notice


def test_another_model_starts_a_new_chat_about_the_same_picture(visit, shelf):
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    image = visit.image
    choose_model(visit, shelf, "llava-1.5-7b")
    assert visit.model == "llava-1.5-7b" and visit.image is image and visit.chat.turns == []


def test_untrained_metacompress_is_named_so(visit, shelf):
    labels = dict((name, label) for label, name in choices.view(visit, shelf).methods)
    assert labels["metacompress"] == "MetaCompress (untrained)" and labels["none"] != labels["random"]


def test_without_compression_no_line_speaks_of_a_rate(visit, shelf):
    choices.retune(visit, shelf, "none", 90)
    line = choices.view(visit, shelf).rate_line
    assert '16 → <span class="m">16</span>' in line and "no compression" in line and "%" not in line
    assert set(line.split('data-budgets="')[1].split('"')[0].split(",")) == {"16"}
    view = list(chat.ask(visit, "is it red", max_new_tokens=2))[-1]
    assert "No compression · 16 of 16 image tokens" in view.messages[1]["content"]
    choices.retune(visit, shelf, "sample", 90)
    assert '<span class="rate">90%</span>' in choices.view(visit, shelf).rate_line
    assert "No compression · 16 of 16" in chat.view(visit).messages[1]["content"]


def test_the_rate_does_not_matter_to_none(visit, shelf):
    choices.retune(visit, shelf, "none", 50)
    assert not choices.view(visit, shelf).rate_matters
    choices.retune(visit, shelf, "sample", 50)
    assert choices.view(visit, shelf).rate_matters


def test_every_method_says_what_it_does(visit, shelf):
    for info in list_methods():
        if info.name not in NEED_33_PATCHES:
            choices.retune(visit, shelf, info.name, 50)
            assert choices.view(visit, shelf).about_method == info.description


def test_the_present_model_goes_on_until_the_chosen_one_is_there(visit, model):
    go_on = threading.Event()

    def load(name, progress):
        return model if name == "tiny" or go_on.wait(20) else None

    shelf = Shelf(load)
    notices = choices.await_model(visit, shelf, "llava-1.5-7b")
    assert "Loading LLaVA-1.5 7B" in next(notices) and "<progress" in next(notices)
    view = choices.view(visit, shelf)
    assert view.model == "llava-1.5-7b" and visit.model == "tiny"  # the box shows what was chosen
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    go_on.set()
    list(notices)
    choices.choose_model(visit, shelf, "llava-1.5-7b")
    assert visit.model == "llava-1.5-7b" and visit.chat.turns == [] and visit.wanted is None


def test_whoever_chooses_another_model_meanwhile_gets_that_one(visit, model):
    go_on = threading.Event()

    def load(name, progress):
        return model if name != "llava-1.5-7b" or go_on.wait(20) else None

    shelf = Shelf(load)
    first = choices.await_model(visit, shelf, "llava-1.5-7b")
    next(first)
    choose_model(visit, shelf, "llava-1.5-13b")
    assert list(first) == []
    go_on.set()
    choices.choose_model(visit, shelf, "llava-1.5-7b")
    assert visit.model == "llava-1.5-13b"


def test_the_model_in_use_can_be_chosen_again_without_losing_the_chat(visit, shelf):
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    before = snapshot(visit)
    choose_model(visit, shelf, "tiny")
    assert snapshot(visit) == before and len(visit.chat.turns) == 1


def test_pictures_keep_their_pixels(visit, shelf):
    assert np.array_equal(visit.chat.image, visit.scene.image)


def test_what_a_browser_sends_is_never_a_path_or_a_repository(visit, checkpoint):
    loads = []
    for name in (str(checkpoint), "llava-hf/llava-1.5-7b-hf", "../tiny"):
        with pytest.raises(UnknownModelError):
            choose_model(visit, Shelf(lambda name, progress: loads.append(name)), name)
    assert loads == []
    assert choices.view(visit, Shelf()).model == "tiny"


def test_the_list_says_what_fits_and_why_the_rest_does_not(monkeypatch):
    def best_load_options(card):
        return MemoryCheck(card.memory_gb <= 20, "It needs 27 GB & more." if card.memory_gb > 20 else ""), {}

    monkeypatch.setattr(model_pool, "best_load_options", best_load_options)
    shelf = Shelf()
    text, labels = choices.models_here(shelf), [label for label, _ in choices.model_choices(shelf)]
    large = sum(card.memory_gb > 20 for card in list_models())
    assert text.count("It needs 27 GB &amp; more.") == large > 0
    assert text.count(": fits.") == len(list_models()) - large and text.count(": does not fit.") == large
    assert sum("(not here)" in label for label in labels) == large


def test_the_list_says_what_a_model_takes_and_its_licence():
    text = choices.models_here(Shelf())
    assert (
        "Up to 576 image tokens; 14.1 GB in 16 bits, 4.5 GB in 4; licence: Llama 2 Community License." in text
    )


@pytest.fixture
def tiled(next_model, image):
    """A visitor with a model that cuts the picture into tiles, and its shelf."""
    visit, shelf = Visit(method="divprune", rate=0.5), Shelf(lambda name, progress: next_model)
    choices._start(visit, shelf, image, None, model="llava-next-7b")
    return visit, shelf


def test_separators_can_be_put_back(tiled):
    visit, shelf = tiled
    separators = visit.chat.tokens.layout.kinds == ROW_SEPARATOR
    choices.retune(visit, shelf, "divprune", 50, "reinsert")
    view = choices.view(visit, shelf)
    assert view.separators_matter and view.separators == "reinsert"
    assert (visit.chat.projection.retention()[separators] == 1).all()
    assert visit.chat.projection.m == token_budget(len(separators), 0.5)
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    assert visit.settings_of_turns[0][1].endswith("separators put back")


@pytest.mark.parametrize("method", ["sample", "spatial", "tome", "visionzip"])
def test_the_slider_knows_who_reads_no_separators(tiled, method):
    visit, shelf = tiled
    choices.retune(visit, shelf, method, 50)
    budgets = choices.rate_line(visit).split('data-budgets="')[1].split('"')[0].split(",")
    for percent in (0, 1, 2, 3, 50, 99):
        choices.retune(visit, shelf, method, percent)
        assert int(budgets[percent]) == visit.chat.projection.m


@pytest.mark.parametrize("method", ["none", "tome", "visionzip", "fastv"])
def test_the_choice_of_separators_waits_for_a_method_that_has_it(tiled, method):
    visit, shelf = tiled
    choices.retune(visit, shelf, method, 50, "reinsert")
    assert not choices.view(visit, shelf).separators_matter and visit.chat.method.name == method
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    assert "put back" not in visit.settings_of_turns[0][1]
    choices.retune(visit, shelf, "spatial", 50, "reinsert")
    assert choices.view(visit, shelf).separators_matter


def test_a_model_without_separators_offers_no_choice(visit, shelf):
    choices.retune(visit, shelf, "sample", 50, "reinsert")
    assert not choices.view(visit, shelf).separators_matter and visit.chat.projection.m == 8


def test_the_middle_square_alone_can_be_shown(visit, shelf, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (160, 80), "teal").save(path)
    choices.upload(visit, shelf, str(path))
    assert choices.view(visit, shelf).shown == {"crop": False}
    padding = np.isnan(visit.chat.projection.layout.boxes[:, 0])
    assert padding.sum() == 8
    choices.show(visit, shelf, True, 24)
    assert choices.view(visit, shelf).shown == {"crop": True} and visit.chat.turns == []
    boxes = visit.chat.projection.layout.boxes
    assert (boxes.min(0)[:2].tolist(), boxes.max(0)[2:].tolist()) == ([40, 0], [120, 80])
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    assert visit.settings_of_turns[0][1].endswith("image tokens · middle square only")
    choices.new_scene(visit, shelf)  # a choice that stays with the visitor
    assert visit.chat.model.options == {"crop": True}
    assert choices.view(visit, shelf).shown == {}  # nothing of a square can be cut off


def test_a_picture_that_cannot_be_shown_so_changes_nothing(visit, shelf):
    choices._start(visit, shelf, Image.new("RGB", (990, 30)), None)
    list(chat.ask(visit, "is it red", max_new_tokens=2))
    before = snapshot(visit)
    with pytest.raises(ImageError, match="32 times"):
        choices.show(visit, shelf, True, 24)
    assert snapshot(visit) == before and choices.view(visit, shelf).shown == {"crop": False}


def test_tiles_can_be_fewer(xcomposer):
    visit, shelf = Visit(method="sample"), Shelf(lambda name, progress: xcomposer)
    choices._start(visit, shelf, Image.new("RGB", (640, 400)), None, model="xcomposer-2.5-7b")
    many = len(visit.chat.tokens)
    choices.show(visit, shelf, False, 1)
    assert len(visit.chat.tokens) < many and choices.view(visit, shelf).shown == {"hd_num": 1}
    with pytest.raises(InvalidOptionError, match="from 1 to 24"):
        choices.show(visit, shelf, False, 0)
    assert choices.view(visit, shelf).shown == {"hd_num": 1}


def test_without_a_picture_a_choice_waits_for_one(visit, shelf):
    choices.remove_picture(visit, shelf)
    choices.show(visit, shelf, True, 24)
    choices.new_scene(visit, shelf)
    assert visit.chat.model.options == {"crop": True}
