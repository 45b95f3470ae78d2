"""How a page gets its chat, loses it and starts again, by the handlers that Gradio calls."""

import gradio as gr
import pytest

from app import settings
from app.page.layout import PRIVACY
from app.page.lifetime import _sweep
from app.page.wiring import build
from app.session_store import SessionStore

MINUTE = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Request:
    """What Gradio tells a handler of its page."""

    def __init__(self, page: str) -> None:
        self.session_hash = page


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return SessionStore(capacity=2, clock=clock)


@pytest.fixture
def demo(pool, store):
    demo = build(pool, store)
    gr.routes.App.create_app(demo)  # gives the page what a running server keeps of it
    return demo


def function(demo, name):
    return next(each for each in demo.fns.values() if getattr(each.fn, "__name__", "") == name)


def failure_of(demo, index):
    """What is called after the function with this index has failed."""
    (found,) = (
        each for each in demo.fns.values() if each.trigger_after == index and each.trigger_only_on_failure
    )
    return found


def test_every_event_of_a_chat_asks_after_a_failure_whether_the_chat_is_gone(demo, store):
    key = next(
        block for block in demo.blocks.values() if isinstance(block, gr.Textbox) and block.value is None
    )
    events = [each for each in demo.fns.values() if key in each.inputs and not each.trigger_only_on_failure]
    assert len(events) > 20
    for event in events:
        failed = failure_of(demo, event._id)
        sentence, button, banner = failed.fn("gone", "scene:1000000007")
        assert "no chat for this page" in sentence and banner["visible"]
        assert button["value"] == "Start again (same picture and settings)"
    there = store.open("tab")
    assert failed.fn(there, "") == [gr.skip()] * 3  # what failed was something else


def test_after_an_upload_the_button_says_that_the_picture_has_to_be_chosen_again(demo):
    failed = next(each for each in demo.fns.values() if getattr(each.fn, "__name__", "") == "failed")
    assert failed.fn("gone", "upload")[1]["value"] == "Start again (choose the picture again)"


def test_a_page_that_finds_no_place_says_so_and_can_try_again(demo, store, clock):
    opened, again = function(demo, "opened"), function(demo, "opened_again")
    for page in ("first", "second"):
        assert store.get(opened.fn(Request(page)))
    for opening, page in ((opened, "third"), (again, "third")):
        with pytest.raises(gr.Error, match="in use") as caught:
            opening.fn(Request(page))
        assert not caught.value.visible
        sentence, button, banner = failure_of(demo, opening._id).fn()
        assert "All places of this server are in use" in sentence
        assert button["value"] == "Try again" and banner["visible"]
    function(demo, "closed").fn(Request("first"))
    key, _, _, banner = again.fn(Request("third"))
    assert store.get(key) and not banner["visible"]


def test_closing_a_page_and_the_sweep_remove_all_that_gradio_holds_of_it(demo, store, clock):
    for page in ("closed", "open", "without a chat"):
        _ = demo.state_holder[page]
    function(demo, "opened").fn(Request("closed"))
    key = function(demo, "opened").fn(Request("open"))
    for page in ("closed", "without a chat"):
        function(demo, "closed").fn(Request(page))
    assert set(demo.state_holder.session_data) == {"open"}
    _ = demo.state_holder["closed"]  # an event that was under way ends after its page
    clock.now = 6 * MINUTE
    store.get(key)
    assert _sweep(demo, store)
    assert set(demo.state_holder.session_data) == {"open"}
    clock.now = 60 * MINUTE
    assert not _sweep(demo, store)  # nothing left: the sweeps end
    assert not demo.state_holder.session_data


def test_the_privacy_line_says_what_the_store_does(clock):
    assert f"{settings.CLOSED_S / 60:.0f} minutes after you close the page" in PRIVACY
    assert f"{settings.IDLE_S / 60:.0f} minutes without activity" in PRIVACY
    assert settings.SWEEP_S <= 30  # a closed page's caches are freed within a minute
