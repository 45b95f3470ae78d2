"""The page asks for what it does not show, and gets the present state of the server, part by part."""

import gradio as gr
import pytest

from app.handlers import choices
from app.page.image_input import UNCHANGED
from app.page.wiring import build
from app.session_store import SessionStore
from tests.app.page.test_wiring import DRAWING, OPTIONS, handler

PARTS = ("picture", "choices", "chat", "patches", "matrix")


@pytest.fixture
def store():
    return SessionStore()


@pytest.fixture
def demo(pool, store):
    return build(pool, store)


def places(outputs) -> dict[str, int]:
    """Where among the outputs of an event the versions are."""
    return {
        block.elem_id.removesuffix("-version"): place
        for place, block in enumerate(outputs)
        if (getattr(block, "elem_id", None) or "").endswith("-version")
    }


def versions_of(event, *values) -> dict[str, str]:
    """The versions that an event sends."""
    outputs = event.fn(*values)
    return {part: outputs[place] for part, place in places(event.outputs).items()}


def refresh(demo, key, versions, drawing=DRAWING) -> dict[str, str]:
    """The parts that come for the versions that are shown, with their new versions."""
    event = handler(demo, "chat-version", "change")
    values = event.fn(key, *(versions[part] for part in PARTS), *drawing)
    assert len(values) == len(event.outputs)
    new, start = {}, 0
    for part, place in places(event.outputs).items():
        filled = [value is not UNCHANGED and value != gr.skip() for value in values[start : place + 1]]
        assert all(filled) or not any(filled) or filled.count(False) == 1  # the input box keeps its text
        if filled[-1]:
            new[part] = values[place]
        start = place + 1
    return new


def test_every_view_has_its_version_and_every_version_asks(demo, store):
    event = handler(demo, "chat-version", "change")
    assert {target for target, _ in event.targets} == {
        block._id for block in event.inputs if (block.elem_id or "").endswith("-version")
    }
    assert event.trigger_mode == "always_last" and tuple(places(event.outputs)) == PARTS
    for function in demo.fns.values():
        for block in function.outputs:
            if block.elem_id in ("chat", "picture", "overlay", "heatmap", "method"):
                assert places(function.outputs), function.name


def test_what_is_old_comes_anew_and_what_is_present_stays(demo, store):
    key = store.open()
    shown = versions_of(handler(demo, "new-scene", "click"), key, *DRAWING)
    assert refresh(demo, key, shown) == {}
    list(handler(demo, "ask", "click").fn(key, "how many cats are there", *OPTIONS))
    new = refresh(demo, key, shown)
    assert list(new) == ["chat"]
    shown |= new
    assert refresh(demo, key, shown) == {}
    handler(demo, "rate", "input").fn(key, "sample", 50, "compress", *DRAWING)
    new = refresh(demo, key, shown)
    assert list(new) == ["choices", "patches", "matrix"]
    shown |= new
    assert list(refresh(demo, key, shown, ("retention", "whole", "paper", "sqrt"))) == ["patches"]
    assert list(refresh(demo, key, shown, ("roles", "whole", "paper", "row"))) == ["matrix"]


def test_an_old_message_is_noticed_even_where_the_page_showed_its_state_before(demo, store):
    key = store.open()
    first = versions_of(handler(demo, "new-scene", "click"), key, *DRAWING)
    again = versions_of(handler(demo, "colour", "input"), key, "roles", "whole")
    assert again["patches"] != first["patches"]  # the same state, but the browser sees that it arrived
    assert refresh(demo, key, first | again) == {}


def test_what_an_answer_decides_comes_with_its_end(demo, store):
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    shown = versions_of(handler(demo, "method", "input"), key, "fastv", 50, "compress", *DRAWING)
    for target in ("undo", "clear"):
        list(handler(demo, "ask", "click").fn(key, "how many cats are there", *OPTIONS))
        new = refresh(demo, key, shown)
        assert list(new) == ["chat", "patches", "matrix"]
        shown |= new
        handler(demo, target, "click").fn(key)
        new = refresh(demo, key, shown)
        assert list(new) == ["chat", "patches", "matrix"]
        shown |= new


def test_all_views_of_a_stream_have_one_shape(demo, store):
    """What a later view leaves out, a browser takes out of the views that still wait to be shown."""
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    for target, values in (("ask", ("how many cats are there", *OPTIONS)), ("regenerate", OPTIONS)):
        event = handler(demo, target, "click")
        shapes = {
            tuple(
                tuple(value) if isinstance(value, dict) else type(value)
                for value, block in zip(view, event.outputs, strict=True)
                if block.elem_id != "question"  # left out as a whole
            )
            for view in event.fn(key, *values)
        }
        assert len(shapes) == 1


def test_a_rate_that_is_refused_goes_back(user, pool):
    choices.set_compression(user, pool, "sample", 40)
    assert choices.view(user, pool).refused_rate is None
    user.last_error = "It cannot be done."
    assert choices.view(user, pool).refused_rate == 40
