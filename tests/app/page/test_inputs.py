"""Whatever a browser sends to any event: what the page offers, or one sentence; and nothing is lost."""

import asyncio
import logging
import math

import gradio as gr
import pytest
from gradio.state_holder import SessionState

from app import settings
from app.page.inputs import UNREADABLE, checked
from app.page.wiring import build
from app.session_store import SessionStore
from app.user_session import UserSession
from compressor.errors import InvalidInputError

SLIDER = gr.Slider(0, 2, 0, step=0.1, label="Temperature")
WHOLE = gr.Slider(1, 256, 64, step=1, label="Longest answer, tokens")
SEED = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=settings.MAX_SEED)
RADIO = gr.Radio([("As they are", "a"), ("Else", "b")], label="Layout")
FILE = {"meta": {"_type": "gradio.FileData"}, "path": "/etc/hostname", "orig_name": "a.png"}


@pytest.mark.parametrize(
    ("component", "value", "expected"),
    [
        (SLIDER, 0.7, 0.7),
        (WHOLE, 64.0, 64),
        (SEED, 2**53 - 1, 2**53 - 1),
        (SEED, None, None),
        (RADIO, "b", "b"),
        (gr.Checkbox(), True, True),
        (gr.Textbox(), "سؤال", "سؤال"),
        (gr.Textbox(), None, ""),
        (gr.Button("A"), "anything", "anything"),
        (gr.Image(), None, None),
        (gr.State(), "a key", "a key"),
    ],
)
def test_what_a_component_offers_passes(component, value, expected):
    (found,) = checked([component], [value])
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("component", "values", "sentence"),
    [
        (
            SLIDER,
            [None, "1", math.nan, math.inf, -0.1, 2.1, True, [], {}],
            "Temperature: enter a number from 0 to 2.",
        ),
        (WHOLE, [None, 1.5, 0, 257, 10**400, -(10**400)], "enter a whole number from 1 to 256."),
        (
            SEED,
            [1e20, 10**400, -5, 0.5, "", "7", math.nan],
            "Seed: enter a whole number from 0 to 9,007,199,254,740,991.",
        ),
        (RADIO, [None, "c", "As they are", 0, [], ["a"], {}], "Layout: this is not among the choices"),
        (gr.Checkbox(label="Crop"), [None, 1, "true"], "Crop: this is neither on nor off"),
        (gr.Textbox(), [1, ["a"], FILE], "no text"),
        (gr.Button("A"), [1.5, {}], "no text"),
        (
            gr.Image(),
            ["a.png", {}, {"path": None}, {"path": ["a"]}, {"path": "/etc/hostname"}, 1],
            "did not arrive",
        ),
    ],
)
def test_anything_else_is_one_sentence(component, values, sentence):
    for value in values:
        with pytest.raises(InvalidInputError, match=sentence) as caught:
            checked([component], [value])
        assert str(caught.value).count(".") == 1


@pytest.mark.parametrize("values", [[], [1, 1]])
def test_there_is_one_value_for_each_input(values):
    with pytest.raises(InvalidInputError, match="reload it"):
        checked([SLIDER], values)


def test_only_a_received_file_is_an_upload(tmp_path, monkeypatch):
    """What is taken for an upload is read, and deleted; Gradio itself would fetch an address, too."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    inside, outside = tmp_path / "uploads" / "abc" / "a.png", tmp_path / "b.png"
    inside.parent.mkdir(parents=True)
    for path in (inside, outside):
        path.write_bytes(b"")
    (inside.parent / "link.png").symlink_to(outside)
    assert checked([gr.Image()], [{"path": str(inside)}]) == [str(inside)]
    for path in (
        outside,
        inside.parent / "link.png",
        inside.parent / ".." / ".." / "b.png",
        "http://127.0.0.1/a.png",
    ):
        with pytest.raises(InvalidInputError, match="did not arrive"):
            checked([gr.Image()], [{"path": str(path)}])


FORGED = [
    None,
    True,
    -5,
    1e20,
    math.nan,
    "no such thing",
    ["a"],
    {},
    {"path": "/etc/hostname"},
    FILE,
    {"meta": 1},
]
ACCEPTED = {  # what of it these components do offer
    gr.Textbox: (None, "no such thing"),
    gr.Button: (None, "no such thing"),
    gr.Number: (None,),
    gr.Checkbox: (True,),
    gr.Image: (None,),
}


@pytest.fixture
def store():
    return SessionStore()


@pytest.fixture
def demo(pool, store):
    return build(pool, store)


@pytest.fixture
def key(store, user):
    """Of a user session to a scene with one answer."""
    key = store.open()
    vars(store.get(key)).update(vars(user))
    list(user.chat.ask("how many cats are there", max_new_tokens=2))
    return key


def snapshot(user: UserSession) -> tuple:
    chat = user.chat
    return (
        user.image,
        chat,
        list(chat.turns),
        user.model,
        user.method,
        user.rate,
        user.separators,
        user.shown,
    )


@pytest.fixture
def send(demo, key):
    """Sends an event as a browser does, up to its first result."""
    session, loop = SessionState(demo), asyncio.new_event_loop()
    for block in demo.blocks.values():
        if isinstance(block, gr.State):
            session[block._id] = key

    def send(function, values: list) -> None:
        loop.run_until_complete(demo.process_api(function, values, state=session))

    yield send
    loop.close()


def events(demo: gr.Blocks):
    """Every event that takes a value from the page, with values that are right."""
    for function in demo.fns.values():
        if function.fn is None or len(function.inputs) < 2:
            continue
        yield function, [None if isinstance(b, gr.State | gr.Image) else b.value for b in function.inputs]


def test_forged_values_reach_no_handler_and_change_nothing(demo, store, key, send, caplog):
    user, tried = store.get(key), 0
    before = snapshot(user)
    for function, values in events(demo):
        for place, block in enumerate(function.inputs):
            if isinstance(block, gr.State):
                continue
            for forged in FORGED:
                if any(forged is each or forged == each for each in ACCEPTED.get(type(block), ())):
                    continue
                with pytest.raises(gr.Error) as caught:
                    send(function, [*values[:place], forged, *values[place + 1 :]])
                text = caught.value
                assert not text.print_exception and len(text.message) < 120 and text.message.endswith(".")
                tried += 1
    assert tried > 500 and snapshot(user) == before and not user.busy.locked()
    assert "hostname" not in caplog.text


def test_too_few_and_too_many_values_are_one_sentence(demo, store, key, send, caplog):
    before = snapshot(store.get(key))
    with caplog.at_level(logging.WARNING):
        for function, values in events(demo):
            for wrong in ([], values[:-1], [*values, "more"]):
                with pytest.raises(gr.Error, match="reload it") as caught:
                    send(function, wrong)
                assert caught.value.message == UNREADABLE and not caught.value.print_exception
    assert snapshot(store.get(key)) == before


def test_a_photograph_cannot_be_forged(demo):
    """Which photograph a button stands for is fixed on the server."""
    buttons = {key for key, block in demo.blocks.items() if "photograph" in (block.elem_classes or [])}
    clicked = [fn for fn in demo.fns.values() if any(block in buttons for block, _ in fn.targets)]
    assert len(clicked) == len(settings.PHOTOGRAPHS)
    assert not any(isinstance(block, gr.Button) for fn in clicked for block in fn.inputs)
