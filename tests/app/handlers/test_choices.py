"""The left column: pictures, models, methods, rates, and that whatever fails leaves everything as it was."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from app import model_pool, settings
from app.handlers import chat, choices
from app.model_pool import ModelPool
from app.user_session import UserSession
from compressor import MemoryCheck, list_methods, list_models, token_budget
from compressor.errors import (
    ImageError,
    InvalidOptionError,
    ModelUnavailableError,
    StudioError,
    UnknownModelError,
)
from compressor.geometry import ROW_SEPARATOR


def snapshot(user: UserSession) -> tuple:
    return user.image, user.scene, user.chat, user.model, user.method, user.rate, len(user.chat.turns)


def choose_model(user, pool, name):
    list(choices.await_model(user, pool, name))
    choices.choose_model(user, pool, name)


def test_new_scenes_are_held_out_and_differ(user, pool):
    first = user.scene
    choices.new_scene(user, pool)
    assert user.scene.seed >= choices.scenes.HELD_OUT and user.scene.seed != first.seed
    assert user.image is user.scene.image and user.chat.turns == []


def test_an_upload_starts_a_chat(user, pool, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (90, 60), "teal").save(path)
    choices.upload(user, pool, str(path))
    assert user.image.size == (90, 60) and user.scene is None
    assert user.chat.projection.layout.size == (90, 60)


def test_a_bad_upload_leaves_picture_chat_and_settings(user, pool, tmp_path):
    list(chat.ask(user, "is it red", max_new_tokens=2))
    before = snapshot(user)
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        choices.upload(user, pool, str(path))
    assert snapshot(user) == before


@pytest.mark.parametrize("title", settings.PHOTOGRAPHS)
def test_photographs_are_shown_with_the_models_limits(user, pool, title):
    choices.photograph(user, pool, title)
    view = choices.view(user, pool)
    assert "knows only its own world" in view.notice
    assert choices.picture(user).picture.width > 300
    assert settings.PHOTOGRAPHS[title].stat().st_size <= 300_000


def test_a_scene_needs_no_notice(user, pool):
    assert choices.view(user, pool).notice == ""


def test_removing_the_picture_ends_the_chat(user, pool):
    choices.remove_picture(user, pool)
    view = choices.view(user, pool)
    assert choices.picture(user).picture is None and view.rate_line == "" and user.chat is None
    choices.set_compression(user, pool, "sample", 50)  # the settings can still be chosen
    choose_model(user, pool, "tiny")
    choices.new_scene(user, pool)
    assert user.chat.projection.m == 8


NEED_33_PATCHES = {"prumerge", "prumerge+"}  # the picture has 16


@pytest.mark.parametrize("method", sorted(NEED_33_PATCHES))
def test_a_method_that_cannot_compress_the_picture_changes_nothing(user, pool, method):
    list(chat.ask(user, "is it red", max_new_tokens=2))
    before = user.chat.projection.weights
    with pytest.raises(StudioError, match="at least 33 patches"):
        choices.set_compression(user, pool, method, 75)
    assert (user.method, user.rate) == ("metacompress", 0.9) == (user.chat.method.name, user.chat.rate)
    assert torch.equal(user.chat.projection.weights, before) and len(user.chat.turns) == 1
    list(chat.regenerate(user, max_new_tokens=2))
    assert user.chat.turns[0].answer is not None


@pytest.mark.parametrize("method", [info.name for info in list_methods() if info.name not in NEED_33_PATCHES])
@pytest.mark.parametrize("percent", [0, 50, 99])
def test_retune_changes_the_sessions_own_projection(user, pool, method, percent):
    list(chat.ask(user, "is it red", max_new_tokens=2))
    choices.set_compression(user, pool, method, percent)
    view = choices.view(user, pool)
    m = 16 if method == "none" else token_budget(16, percent / 100)
    assert user.chat.image_tokens == m and len(user.chat.turns) == 1
    rate = "no compression" if method == "none" else f"{percent}%"
    assert view.method == method and f'<span class="rate">{rate}</span>' in view.rate_line
    assert f'16 → <span class="m">{m}</span>' in view.rate_line


@pytest.mark.parametrize(("method", "percent"), [("sample", 100), ("sample", -1), ("nonsense", 50)])
def test_settings_out_of_range_change_nothing(user, pool, method, percent):
    before = snapshot(user)
    with pytest.raises(StudioError):
        choices.set_compression(user, pool, method, percent)
    assert snapshot(user) == before


@pytest.mark.parametrize("place", ["encode_batch", "compress"])
def test_whatever_fails_in_a_change_leaves_visit_and_chat_alike(user, pool, monkeypatch, place):
    list(chat.ask(user, "how many cats are there", max_new_tokens=4))
    held, before = user.chat, snapshot(user)

    def fail(*values):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as broken:
        broken.setattr(type(user.chat.model), place, fail)
        with pytest.raises(torch.OutOfMemoryError):
            choices.new_scene(user, pool)
        if place == "compress":
            with pytest.raises(torch.OutOfMemoryError):
                choices.set_compression(user, pool, "sample", 50)
    assert snapshot(user) == before and not user.busy.locked()
    assert (held.method.name, held.rate) == (user.method, user.rate)
    list(chat.ask(user, "is it red", max_new_tokens=4))
    assert len(user.chat.turns) == 2 and user.chat.turns[1].stats.image_tokens == held.projection.m


def test_retune_interrupts_a_running_answer(user, pool):
    answering = chat.ask(user, "how many cats are there", max_new_tokens=150)
    next(answering)
    consumer = threading.Thread(target=lambda: list(answering))
    consumer.start()
    choices.set_compression(user, pool, "sample", 25)
    consumer.join(20)
    assert user.chat.projection.m == 12 and not user.busy.locked()
    assert len(user.chat.turns) == 1


def test_the_slider_is_told_every_budget(user, pool):
    choices.set_compression(user, pool, "sample", 30)
    line = choices.rate_line(user)
    budgets = line.split('data-budgets="')[1].split('"')[0].split(",")
    assert [int(budget) for budget in budgets] == [token_budget(16, percent / 100) for percent in range(100)]


def test_all_models_are_listed_and_one_that_does_not_fit_explains_itself(user, model):
    def load(name, progress):
        if name == "tiny":
            return model
        raise ModelUnavailableError("It needs 14 GB.")

    names = [name for _, name in choices.model_choices(ModelPool(load))]
    assert names == [card.name for card in list_models()]
    before = snapshot(user)
    with pytest.raises(ModelUnavailableError, match="14 GB"):
        choose_model(user, ModelPool(load), "llava-1.5-7b")
    assert snapshot(user) == before
    user.last_error = "It needs 14 GB."
    assert "14 GB" in choices.view(user, ModelPool(load)).notice


def test_another_model_starts_a_new_chat_about_the_same_picture(user, pool):
    list(chat.ask(user, "is it red", max_new_tokens=2))
    image = user.image
    choose_model(user, pool, "llava-1.5-7b")
    assert user.model == "llava-1.5-7b" and user.image is image and user.chat.turns == []


def test_untrained_metacompress_is_named_so(user, pool):
    labels = dict((name, label) for label, name in choices.view(user, pool).methods)
    assert labels["metacompress"] == "MetaCompress (untrained)" and labels["none"] != labels["random"]


def test_without_compression_no_line_speaks_of_a_rate(user, pool):
    choices.set_compression(user, pool, "none", 90)
    line = choices.view(user, pool).rate_line
    assert '16 → <span class="m">16</span>' in line and "no compression" in line and "%" not in line
    assert set(line.split('data-budgets="')[1].split('"')[0].split(",")) == {"16"}
    view = list(chat.ask(user, "is it red", max_new_tokens=2))[-1]
    assert "No compression · 16 of 16 image tokens" in view.messages[1]["content"]
    choices.set_compression(user, pool, "sample", 90)
    assert '<span class="rate">90%</span>' in choices.view(user, pool).rate_line
    assert "No compression · 16 of 16" in chat.view(user).messages[1]["content"]


def test_the_rate_does_not_matter_to_none(user, pool):
    choices.set_compression(user, pool, "none", 50)
    assert not choices.view(user, pool).rate_matters
    choices.set_compression(user, pool, "sample", 50)
    assert choices.view(user, pool).rate_matters


def test_every_method_says_what_it_does(user, pool):
    for info in list_methods():
        if info.name not in NEED_33_PATCHES:
            choices.set_compression(user, pool, info.name, 50)
            assert choices.view(user, pool).about_method == info.description


def test_the_present_model_goes_on_until_the_chosen_one_is_there(user, model):
    go_on = threading.Event()

    def load(name, progress):
        return model if name == "tiny" or go_on.wait(20) else None

    pool = ModelPool(load)
    notices = choices.await_model(user, pool, "llava-1.5-7b")
    assert "Loading LLaVA-1.5 7B" in next(notices) and "<progress" in next(notices)
    view = choices.view(user, pool)
    assert view.model == "llava-1.5-7b" and user.model == "tiny"  # the box shows what was chosen
    list(chat.ask(user, "is it red", max_new_tokens=2))
    go_on.set()
    list(notices)
    choices.choose_model(user, pool, "llava-1.5-7b")
    assert user.model == "llava-1.5-7b" and user.chat.turns == [] and user.pending_model is None


def test_whoever_chooses_another_model_meanwhile_gets_that_one(user, model):
    go_on = threading.Event()

    def load(name, progress):
        return model if name != "llava-1.5-7b" or go_on.wait(20) else None

    pool = ModelPool(load)
    first = choices.await_model(user, pool, "llava-1.5-7b")
    next(first)
    choose_model(user, pool, "llava-1.5-13b")
    assert list(first) == []
    go_on.set()
    choices.choose_model(user, pool, "llava-1.5-7b")
    assert user.model == "llava-1.5-13b"


def test_the_model_in_use_can_be_chosen_again_without_losing_the_chat(user, pool):
    list(chat.ask(user, "is it red", max_new_tokens=2))
    before = snapshot(user)
    choose_model(user, pool, "tiny")
    assert snapshot(user) == before and len(user.chat.turns) == 1


def test_pictures_keep_their_pixels(user, pool):
    assert np.array_equal(user.chat.image, user.scene.image)


def test_what_a_browser_sends_is_never_a_path_or_a_repository(user, checkpoint):
    loads = []
    for name in (str(checkpoint), "llava-hf/llava-1.5-7b-hf", "../tiny"):
        with pytest.raises(UnknownModelError):
            choose_model(user, ModelPool(lambda name, progress: loads.append(name)), name)
    assert loads == []
    assert choices.view(user, ModelPool()).model == "tiny"


def test_the_list_says_what_fits_and_why_the_rest_does_not(monkeypatch):
    def best_load_options(card):
        return MemoryCheck(card.memory_gb <= 20, "It needs 27 GB & more." if card.memory_gb > 20 else ""), {}

    monkeypatch.setattr(model_pool, "best_load_options", best_load_options)
    pool = ModelPool()
    text, labels = choices.models_here(pool), [label for label, _ in choices.model_choices(pool)]
    large = sum(card.memory_gb > 20 for card in list_models())
    assert text.count("It needs 27 GB &amp; more.") == large > 0
    assert text.count(": fits.") == len(list_models()) - large and text.count(": does not fit.") == large
    assert sum("(not here)" in label for label in labels) == large


def test_the_list_says_what_a_model_takes_and_its_licence():
    text = choices.models_here(ModelPool())
    assert (
        "Up to 576 image tokens; 14.1 GB in 16 bits, 4.5 GB in 4; licence: Llama 2 Community License." in text
    )


@pytest.fixture
def tiled(next_model, image):
    """A visitor with a model that cuts the picture into tiles, and its model pool."""
    user, pool = UserSession(method="divprune", rate=0.5), ModelPool(lambda name, progress: next_model)
    choices._start(user, pool, image, None, model="llava-next-7b")
    return user, pool


def test_separators_can_be_put_back(tiled):
    user, pool = tiled
    separators = user.chat.tokens.layout.kinds == ROW_SEPARATOR
    choices.set_compression(user, pool, "divprune", 50, "reinsert")
    view = choices.view(user, pool)
    assert view.separators_matter and view.separators == "reinsert"
    assert (user.chat.projection.retention()[separators] == 1).all()
    assert user.chat.projection.m == token_budget(len(separators), 0.5)
    list(chat.ask(user, "is it red", max_new_tokens=2))
    assert user.settings_of_turns[0][1].endswith("separators reinserted")


@pytest.mark.parametrize("method", ["sample", "spatial", "tome", "visionzip"])
def test_the_slider_knows_who_reads_no_separators(tiled, method):
    user, pool = tiled
    choices.set_compression(user, pool, method, 50)
    budgets = choices.rate_line(user).split('data-budgets="')[1].split('"')[0].split(",")
    for percent in (0, 1, 2, 3, 50, 99):
        choices.set_compression(user, pool, method, percent)
        assert int(budgets[percent]) == user.chat.projection.m


@pytest.mark.parametrize("method", ["none", "tome", "visionzip", "fastv"])
def test_the_choice_of_separators_waits_for_a_method_that_has_it(tiled, method):
    user, pool = tiled
    choices.set_compression(user, pool, method, 50, "reinsert")
    assert not choices.view(user, pool).separators_matter and user.chat.method.name == method
    list(chat.ask(user, "is it red", max_new_tokens=2))
    assert "reinserted" not in user.settings_of_turns[0][1]
    choices.set_compression(user, pool, "spatial", 50, "reinsert")
    assert choices.view(user, pool).separators_matter


def test_a_model_without_separators_offers_no_choice(user, pool):
    choices.set_compression(user, pool, "sample", 50, "reinsert")
    assert not choices.view(user, pool).separators_matter and user.chat.projection.m == 8


def test_the_middle_square_alone_can_be_shown(user, pool, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (160, 80), "teal").save(path)
    choices.upload(user, pool, str(path))
    assert choices.view(user, pool).shown == {"crop": False}
    padding = np.isnan(user.chat.projection.layout.boxes[:, 0])
    assert padding.sum() == 8
    choices.set_model_options(user, pool, True, 24)
    assert choices.view(user, pool).shown == {"crop": True} and user.chat.turns == []
    boxes = user.chat.projection.layout.boxes
    assert (boxes.min(0)[:2].tolist(), boxes.max(0)[2:].tolist()) == ([40, 0], [120, 80])
    list(chat.ask(user, "is it red", max_new_tokens=2))
    assert user.settings_of_turns[0][1].endswith("image tokens · middle square only")
    choices.new_scene(user, pool)  # a choice that stays with the visitor
    assert user.chat.model.options == {"crop": True}
    assert choices.view(user, pool).shown == {}  # nothing of a square can be cut off


def test_a_picture_that_cannot_be_shown_so_changes_nothing(user, pool):
    choices._start(user, pool, Image.new("RGB", (990, 30)), None)
    list(chat.ask(user, "is it red", max_new_tokens=2))
    before = snapshot(user)
    with pytest.raises(ImageError, match="32 times"):
        choices.set_model_options(user, pool, True, 24)
    assert snapshot(user) == before and choices.view(user, pool).shown == {"crop": False}


def test_tiles_can_be_fewer(xcomposer):
    user, pool = UserSession(method="sample"), ModelPool(lambda name, progress: xcomposer)
    choices._start(user, pool, Image.new("RGB", (640, 400)), None, model="xcomposer-2.5-7b")
    many = len(user.chat.tokens)
    choices.set_model_options(user, pool, False, 1)
    assert len(user.chat.tokens) < many and choices.view(user, pool).shown == {"hd_num": 1}
    with pytest.raises(InvalidOptionError, match="from 1 to 24"):
        choices.set_model_options(user, pool, False, 0)
    assert choices.view(user, pool).shown == {"hd_num": 1}


def test_without_a_picture_a_choice_waits_for_one(user, pool):
    choices.remove_picture(user, pool)
    choices.set_model_options(user, pool, True, 24)
    choices.new_scene(user, pool)
    assert user.chat.model.options == {"crop": True}
