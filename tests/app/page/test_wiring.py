"""The page as Gradio sees it: what is public, what is sent, and that events reach the handlers."""

import asyncio
import base64
import inspect
import io
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from gradio.state_holder import SessionState
from PIL import Image

from app import settings
from app.handlers import choices, inspector
from app.model_pool import ModelPool
from app.page.image_input import UNCHANGED, picture
from app.page.theme import STYLE_SHEET, studio_theme
from app.page.wiring import build
from app.session_store import SessionStore
from compressor import Projection, token_budget
from compressor.chat import compression
from compressor.errors import ModelUnavailableError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def store():
    return SessionStore()


@pytest.fixture
def demo(pool, store):
    return build(pool, store)


def handler(demo: gr.Blocks, target: str, event: str):
    """The function that the event of the component with this element id calls."""
    ids = {block.elem_id: key for key, block in demo.blocks.items() if getattr(block, "elem_id", None)}
    found = [
        function
        for function in demo.fns.values()
        if any(trigger == (ids.get(target), event) for trigger in function.targets)
        and function.fn is not None
    ]
    assert len(found) == 1, (target, event)
    return found[0]


def following(demo: gr.Blocks, function):
    """The function that is called when another one has ended well."""
    after = [each for each in demo.fns.values() if each.trigger_after == function._id]
    (found,) = (each for each in after if not each.trigger_only_on_failure)
    assert found.trigger_only_on_success
    return found


class Request:
    """What Gradio tells a handler of its page."""

    def __init__(self, page: str) -> None:
        self.session_hash = page


DRAWING = ("roles", "whole", "paper", "sqrt")
OPTIONS = (4, 0, 0)


def test_nothing_is_public(demo):
    assert demo.fns and all(function.api_visibility == "private" for function in demo.fns.values())
    api = demo.get_api_info()
    assert api["named_endpoints"] == {} and api["unnamed_endpoints"] == {}


def test_the_page_holds_only_the_key_of_a_session(demo, store):
    states = [block for block in demo.blocks.values() if isinstance(block, gr.State)]
    assert states == []
    opened = next(fn for fn in demo.fns.values() if fn.targets[0][1] == "load" and fn.fn is not None)
    key = opened.fn(Request("tab"))
    loaded = following(demo, opened)
    list(loaded.fn())
    following(demo, loaded).fn(key, *DRAWING)
    assert isinstance(key, str) and store.get(key).scene is not None


def test_a_walk_through_the_handlers(demo, store, tmp_path):
    key = store.open()
    outputs = handler(demo, "new-scene", "click").fn(key, *DRAWING)
    assert len(outputs) == len(handler(demo, "new-scene", "click").outputs)
    *_, last = handler(demo, "ask", "click").fn(key, "how many cats are there", *OPTIONS)
    assert len(last) == len(handler(demo, "ask", "click").outputs) and len(store.get(key).chat.turns) == 1
    *_, last = handler(demo, "regenerate", "click").fn(key, *OPTIONS)
    handler(demo, "rate", "input").fn(key, "sample", 50, "compress", *DRAWING)
    assert store.get(key).chat.projection.m == 8
    handler(demo, "stop", "click").fn(key)
    handler(demo, "undo", "click").fn(key)
    handler(demo, "clear", "click").fn(key)
    assert store.get(key).chat.turns == []
    handler(demo, "picture", "clear").fn(key, *DRAWING)
    assert store.get(key).image is None


def count_drawings(monkeypatch) -> list[str]:
    """The names of what is drawn, from now on."""
    drawn = []
    for name in ("overlay", "heatmap", "caption"):
        draw = getattr(inspector, name)
        monkeypatch.setattr(
            inspector, name, partial(lambda n, d, *a, **o: drawn.append(n) or d(*a, **o), name, draw)
        )
    return drawn


PATCHES = ["overlay", "legend", "view", "patches-version"]
MATRIX = ["heatmap", "caption", "matrix-version"]


def test_only_what_shows_a_switch_is_drawn_anew(demo, store, monkeypatch):
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    drawn = count_drawings(monkeypatch)
    for target, values, parts, ids in (
        ("colour", ("retention", "whole"), ["overlay"], PATCHES),
        ("view", ("roles", "whole"), ["overlay"], PATCHES),
        ("shade", ("paper", "row"), ["heatmap", "caption"], MATRIX),
        ("layout", ("stored", "sqrt"), ["heatmap", "caption"], MATRIX),
    ):
        event = handler(demo, target, "input")
        assert [block.elem_id for block in event.inputs[1:]] == {
            "overlay": ["colour", "view"],
            "heatmap": ["layout", "shade"],
        }[parts[0]]
        sent = asyncio.run(demo.process_api(event, [key, *values], state=SessionState(demo)))["data"]
        assert len(sent) == len(event.outputs) and None not in sent
        assert drawn == parts and [block.elem_id for block in event.outputs] == ids
        drawn.clear()


def test_a_tick_of_the_slider_reads_no_file_and_encodes_nothing(demo, store, model, monkeypatch):
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    done, build, encode = [], compression.get_method, type(model).encode_batch
    monkeypatch.setattr(compression, "get_method", lambda *a, **o: done.append("build") or build(*a, **o))
    monkeypatch.setattr(type(model), "encode_batch", lambda *a: done.append("encode") or encode(*a))
    drawn = count_drawings(monkeypatch)
    for percent in range(20):
        handler(demo, "rate", "input").fn(key, "metacompress", percent, "compress", *DRAWING)
        assert store.get(key).chat.projection.m == token_budget(16, percent / 100)
    assert done == [] and sorted(drawn) == sorted(["overlay", "heatmap", "caption"] * 20)


def test_roles_are_computed_once_for_a_projection(demo, store, monkeypatch):
    key, computed, compute = store.open(), [], Projection._compute_roles
    monkeypatch.setattr(Projection, "_compute_roles", lambda *a: computed.append(a[0]) or compute(*a))
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    for colouring in ("roles", "retention", "roles"):
        handler(demo, "colour", "input").fn(key, colouring, "whole")
    assert computed == [store.get(key).chat.projection]


class Uncopied:
    """Says when somebody copies it."""

    def __init__(self, *values) -> None:
        super().__init__(*values)
        self.copied = []

    def __deepcopy__(self, memo):
        self.copied.append(type(self).__name__)
        raise AssertionError("a view of the page copies what must not be copied")


class UncopiedStore(Uncopied, SessionStore):
    pass


class UncopiedPool(Uncopied, ModelPool):
    pass


def test_a_view_of_the_page_copies_neither_visits_nor_models(model):
    store, pool = UncopiedStore(), UncopiedPool(lambda name, progress: model)
    client = TestClient(gr.mount_gradio_app(FastAPI(), build(pool, store), "/"))
    key = store.open()
    choices.new_scene(store.get(key), pool, seed=7)
    store.get(key).chat = chat = Uncopied()
    chat.stop = lambda: None
    for _ in range(2):
        assert client.get("/").status_code == 200 and client.get("/config").status_code == 200
    assert store.copied == pool.copied == chat.copied == []


def test_events_that_wait_for_a_model_share_one_bound(demo):
    waiting = [
        function
        for function in demo.fns.values()
        if function.fn is not None and [block.elem_id for block in function.outputs] == ["picture-notice"]
    ]
    assert len(waiting) == 3
    assert len({function.concurrency_id for function in waiting}) == 1
    assert {function.concurrency_limit for function in waiting} == {settings.WAITING_AT_ONCE}
    others = [function.concurrency_id for function in demo.fns.values() if function not in waiting]
    assert waiting[0].concurrency_id not in others


@pytest.mark.parametrize(
    ("target", "event", "arguments"),
    [
        ("new-scene", "click", ()),
        ("method", "input", ("sample", 50, "compress")),
        ("rate", "input", ("sample", 50, "compress")),
    ],
)
def test_whatever_fails_in_a_change_is_one_sentence_beside_what_was_there(
    demo, store, monkeypatch, caplog, target, event, arguments
):
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    state = store.get(key)
    image, method, chat = state.image, state.method, state.chat
    with monkeypatch.context() as broken:
        broken.setattr(type(chat.model), "compress", lambda *values: 1 / 0)
        outputs = handler(demo, target, event).fn(key, *arguments, *DRAWING)
    assert len(outputs) == len(handler(demo, target, event).outputs)
    assert any(isinstance(value, str) and 'role="alert"' in value for value in outputs)
    assert (state.image, state.method, state.chat) == (image, method, chat)
    assert isinstance(caplog.records[-1].exc_info[1], ZeroDivisionError)
    handler(demo, target, event).fn(key, *arguments, *DRAWING)
    assert state.last_error == "" and state.chat is not chat


def test_a_projection_that_cannot_be_drawn_leaves_the_rest_of_the_page(demo, store, monkeypatch, caplog):
    key = store.open()
    monkeypatch.setattr("app.handlers.inspector.heatmap", lambda *values, **options: 1 / 0)
    outputs = handler(demo, "new-scene", "click").fn(key, *DRAWING)
    assert outputs[0] is store.get(key).image and "server" in str(outputs[-2]) and caplog.records


def test_a_handler_that_fails_otherwise_is_one_message(demo, store, monkeypatch, caplog):
    key = store.open()
    monkeypatch.setattr("app.handlers.chat.stop", lambda user: 1 / 0)
    with pytest.raises(gr.Error, match="went wrong on the server") as caught:
        handler(demo, "stop", "click").fn(key)
    assert not caught.value.print_exception and caplog.records[-1].exc_info is not None


def test_a_bad_upload_is_told_beside_the_picture_that_stays(demo, store, tmp_path):
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    path = tmp_path / "a.png"
    path.write_bytes(b"no picture")
    (
        shown,
        *_,
    ) = handler(demo, "picture", "upload").fn(key, str(path), *DRAWING)
    assert shown is store.get(key).image
    outputs = handler(demo, "picture", "upload").fn(key, str(path), *DRAWING)
    assert any(
        isinstance(value, str) and 'role="alert"' in value and "not a picture" in value for value in outputs
    )


@pytest.mark.parametrize(
    ("target", "event", "arguments"),
    [
        ("ask", "click", ("hello", *OPTIONS)),
        ("undo", "click", ()),
        ("new-scene", "click", DRAWING),
        ("layout", "input", ("paper", "sqrt")),
    ],
)
def test_a_visit_that_is_gone_is_one_sentence(demo, target, event, arguments):
    with pytest.raises(gr.Error, match="no chat for this page") as caught:
        result = handler(demo, target, event).fn("gone", *arguments)
        list(result)
    assert not caught.value.print_exception and not caught.value.visible  # the banner says it


def test_pictures_travel_inside_the_message_and_uploads_unopened(demo):
    assert not any(function.preprocess for function in demo.fns.values() if function.fn and function.inputs)
    component = picture()
    assert component.postprocess(None) is None and component.postprocess(UNCHANGED) == gr.skip()
    sent = component.postprocess(Image.new("RGB", (30, 20), "teal"))
    head, data = sent.url.split(",", 1)
    assert sent.path is None and head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (30, 20)


def test_no_source_stub_is_written():
    assert not list((ROOT / "app").rglob("*.pyi"))


def test_the_theme_asks_for_no_font_from_elsewhere():
    sources = studio_theme()._get_theme_css() + STYLE_SHEET.read_text() + str(studio_theme()._stylesheets)
    assert "http" not in sources.replace("http://www.w3.org/2000/svg", "")
    assert "@font-face" not in sources and "@import" not in sources


def test_examples_are_recorded_with_their_licences():
    text = (settings.EXAMPLES / "LICENSES.md").read_text()
    assert all(path.is_file() and f"`{path.name}`" in text for path in settings.PHOTOGRAPHS.values())


def test_importing_the_app_loads_no_model_and_no_transformers():
    code = (
        "import sys; from app.launch import create_page; page, pool = create_page(); "
        "assert page.blocks and pool._models == {}; "
        "assert 'transformers' not in sys.modules and 'plotly' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_a_model_says_how_far_its_loading_is_and_the_chat_goes_on(model, store):
    go_on = threading.Event()

    def load(name, progress):
        if name != "tiny":
            progress(0.25, "Downloading it: 1.0 of 4.0 GB")
            go_on.wait(20)
        return model

    demo = build(ModelPool(load), store)
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    choosing = handler(demo, "model", "input")
    assert [block.elem_id for block in choosing.outputs] == ["picture-notice"]
    notices = choosing.fn(key, "llava-1.5-7b")
    next(notices)
    notice = next(notices)
    assert "1.0 of 4.0 GB" in notice and 'value="0.250"' in notice
    list(handler(demo, "ask", "click").fn(key, "how many cats are there", *OPTIONS))
    handler(demo, "method", "input").fn(key, "sample", 50, "compress", *DRAWING)
    assert len(store.get(key).chat.turns) == 1 and store.get(key).model == "tiny"
    go_on.set()
    list(notices)
    following(demo, choosing).fn(key, "llava-1.5-7b", *DRAWING)
    assert store.get(key).model == "llava-1.5-7b" and store.get(key).chat.turns == []


def test_a_choice_that_failed_stays_told_when_the_browser_reports_it_again(model, store):
    def load(name, progress):
        if name != "tiny":
            raise ModelUnavailableError("It needs 14 GB.")
        return model

    demo = build(ModelPool(load), store)
    key = store.open()
    handler(demo, "new-scene", "click").fn(key, *DRAWING)
    choosing = handler(demo, "model", "input")
    begun = [choosing.fn(key, "llava-1.5-7b") for _ in range(2)]
    for stream in begun:
        list(stream)
    chosen = following(demo, choosing)
    text = [chosen.fn(key, "llava-1.5-7b", *DRAWING) for _ in range(2)]
    assert all(any("It needs 14 GB." in str(value) for value in values) for values in text)
    again = handler(demo, "new-scene", "click").fn(key, *DRAWING)
    assert not any("It needs 14 GB." in str(value) for value in again)


def test_pictures_are_never_skipped(demo):
    """An update in a picture's place would give the visitor a component that keeps pictures on the disk."""
    for function in demo.fns.values():
        if inspect.isgeneratorfunction(function.fn):
            assert not any(isinstance(block, gr.Image) for block in function.outputs)
