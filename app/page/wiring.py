"""The page: three columns, and which event calls which handler. Nothing is decided here."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gradio as gr

from app import settings
from app.failures import as_user_error
from app.handlers import chat, choices, restart
from app.model_pool import ModelPool
from app.page import inputs
from app.page.layout import MASTHEAD, ChatPane, ChoicesPane, chat_pane, choices_pane, inspector_pane
from app.page.lifetime import Opening, loss_pane, wire_loss, wire_opening
from app.page.refresh import Part, inputs_of, outputs_of, parts_of, values_of, wire_refresh
from app.session_store import SessionStore
from app.uploads import MAX_BYTES
from app.user_session import PARTS
from compressor.errors import SessionExpiredError, StudioError

# While the slider moves, its line follows in the browser; the numbers come with it, from `token_budget`. The
# slider is not written back while it moves, or the thumb would jump under the hand; and a line that comes
# meanwhile follows at once. Without compression there is nothing to follow.
FOLLOW_RATE = """(rate, method) => {
  const line = document.getElementById("rate-line");
  if (!line || method === "none") return;
  line.querySelector(".rate").textContent = rate + "%";
  line.querySelector(".m").textContent = line.dataset.budgets.split(",")[rate];
}"""

# Gradio empties the picture's frame before it refuses a large file. So a file is measured when it is chosen
# or dropped, before Gradio sees it, and the server is asked for its sentence instead.
REFUSE_LARGE = """() => {
  for (const kind of ["change", "drop"]) document.addEventListener(kind, (event) => {
    if (!event.target.closest || !event.target.closest("#picture")) return;
    const files = (kind === "drop" ? event.dataTransfer : event.target).files || [];
    if (![...files].some((file) => file.size > LIMIT)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (kind === "change") event.target.value = "";
    document.getElementById("too-large").click();
  }, true);
}""".replace("LIMIT", str(MAX_BYTES))


def build(pool: ModelPool, store: SessionStore) -> gr.Blocks:
    """The whole page.

    Args:
        pool: where models come from.
        store: where user sessions are kept.
    """
    title = "MetaCompress Studio"
    with gr.Blocks(title=title, fill_width=True, analytics_enabled=False, delete_cache=(600, 600)) as demo:
        session_key = gr.Textbox(None, visible=False)  # a `gr.State` would be lost when the server restarts
        banner = loss_pane()
        gr.HTML(MASTHEAD)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=3, min_width=320):
                left = choices_pane(pool)
            with gr.Column(scale=5, min_width=320):
                middle = chat_pane()
            with gr.Column(scale=4, min_width=320):
                right = inspector_pane()
        parts = parts_of(pool, left, middle, right)
        opening = wire_opening(demo, store, session_key, banner)
        _wire_choices(opening, pool, store, session_key, left, parts)
        _wire_chat(store, session_key, left, middle)
        _wire_inspector(store, session_key, parts)
        wire_refresh(_private, store, session_key, list(parts.values()))
        demo.load(None, js=REFUSE_LARGE, api_visibility="private")
        wire_loss(demo, store, session_key, left.source, banner)
    inputs.check_events(demo)
    return demo.queue(max_size=settings.QUEUE, default_concurrency_limit=settings.PREVIEWS_AT_ONCE)


def _wire_choices(
    opening: Opening,
    pool: ModelPool,
    store: SessionStore,
    session_key: gr.Textbox,
    left: ChoicesPane,
    parts: dict[str, Part],
) -> None:
    """What is chatted about: each change redraws the projection, all but method and rate clear the chat."""

    def apply_change(change: Callable[..., bool | None], names: list[str], key: str, *inputs: Any) -> list:
        """Makes a change; returns the parts of the page with these names as they are then.

        Where a change returns False there was nothing to do, and the previous error stays visible.
        """
        state, sent = store.get(key), [parts[name] for name in names]
        split = len(inputs) - len(inputs_of(sent))
        with state.in_order():
            try:
                if change(state, pool, *inputs[:split]) is not False:
                    state.last_error = ""
            except Exception as error:  # noqa: BLE001 - logged; the page needs a view of the present state
                state.last_error = str(as_user_error(error))
            if "chat" in names:
                state.chat_notice = ""  # it belongs to what was done before
            state.mark_changed(*(part for part in PARTS if part in names), "projection")
        return values_of(sent, state, inputs[split:])

    def on(
        register: Callable,
        change: Callable[..., bool | None],
        *inputs: Any,
        names: Iterable[str] = tuple(parts),
    ) -> None:
        sent = [parts[name] for name in names]
        handler = functools.partial(apply_change, change, list(names))
        sources = [session_key, *inputs, *inputs_of(sent)]
        _private(register, handler, sources, outputs_of(sent), trigger_mode="always_last")

    _wire_loading(opening, pool, store, session_key, left, on)
    for option in left.shown.values():
        slider = isinstance(option, gr.Slider)
        changes = option.release if slider else option.input  # pyright: ignore[reportAttributeAccessIssue]  # as above
        on(changes, choices.set_model_options, *left.shown.values())
    on(left.picture.upload, choices.upload, left.picture)
    on(left.picture.clear, choices.remove_picture)
    on(left.new_scene.click, choices.new_scene)
    on(left.too_large.click, choices.refuse_upload)
    for title, button in left.photographs.items():
        on(button.click, functools.partial(choices.photograph, title=title))
    on(left.method.input, choices.set_compression, *left.tuning())
    on(left.separators.input, choices.set_compression, *left.tuning())
    on(left.rate.input, choices.set_compression, *left.tuning(), names=("choices", "patches", "matrix"))
    for follows in (left.rate.input, left.rate_line.change):
        follows(None, [left.rate, left.method], None, js=FOLLOW_RATE, api_visibility="private")


def _wire_loading(
    opening: Opening,
    pool: ModelPool,
    store: SessionStore,
    session_key: gr.Textbox,
    left: ChoicesPane,
    on: Callable[..., None],
) -> None:
    """What waits for a model: only the notice is written meanwhile; then `on` makes the change."""

    def arriving() -> Iterator[str]:
        for progress in pool.loading(settings.FIRST_MODEL):
            yield chat.progress_notice(*progress)

    def waiting(key: str, name: str) -> Iterator[str]:
        yield from choices.await_model(store.get(key), pool, name)

    waits = {
        "trigger_mode": "multiple",
        "concurrency_id": "waiting",
        "concurrency_limit": settings.WAITING_AT_ONCE,
    }
    loaded = _private(opening.loaded.success, arriving, None, left.notice, **waits)
    on(loaded.success, choices.new_scene)
    loaded = _private(opening.again.success, waiting, [session_key, left.model], left.notice, **waits)
    on(loaded.success, restart.resume, left.source, left.model, *left.tuning(), *left.shown.values())
    loaded = _private(left.model.input, waiting, [session_key, left.model], left.notice, **waits)
    on(loaded.success, choices.choose_model, left.model)


def _wire_chat(store: SessionStore, session_key: gr.Textbox, left: ChoicesPane, middle: ChatPane) -> None:
    """Asking in all its ways, stopping, taking back."""

    def asked(key: str, question: str, *options: float | None) -> Iterator[list]:
        yield from _chat_stream(middle, chat.ask(store.get(key), question, **_named(options)))

    def regenerated(key: str, *options: float | None) -> Iterator[list]:
        yield from _chat_stream(middle, chat.regenerate(store.get(key), **_named(options)))

    def stopped(key: str) -> None:
        chat.stop(store.get(key))

    def undone(key: str) -> list:
        return middle.values(chat.undo(store.get(key)))

    def cleared(key: str) -> list:
        return middle.values(chat.clear(store.get(key)))

    def on(register: Callable, handler: Callable, *inputs: Any) -> None:
        slot = {"concurrency_id": "answer", "concurrency_limit": settings.ANSWERS_AT_ONCE}
        _private(register, handler, [session_key, *inputs, *left.options], middle.outputs(), **slot)

    on(middle.question.submit, asked, middle.question)
    on(middle.ask.click, asked, middle.question)
    for button in middle.suggestions:
        on(button.click, asked, button)
    on(middle.regenerate.click, regenerated)
    _private(middle.stop.click, stopped, session_key, None, queue=False)
    _private(middle.undo.click, undone, session_key, middle.outputs())
    _private(middle.clear.click, cleared, session_key, middle.outputs())


def _wire_inspector(store: SessionStore, session_key: gr.Textbox, parts: dict[str, Part]) -> None:
    """How the projection is drawn: only what shows the change is drawn anew."""

    def redrawn(part: Part, key: str, *drawing: str) -> list:
        return part.values(store.get(key), *drawing)

    for part in (parts["patches"], parts["matrix"]):
        handler = functools.partial(redrawn, part)
        for radio in part.inputs:
            inputs = [session_key, *part.inputs]
            on_input = radio.input  # pyright: ignore[reportAttributeAccessIssue]  # Gradio adds events at run time
            _private(on_input, handler, inputs, part.outputs, trigger_mode="always_last")


def _named(options: tuple[float | None, ...]) -> dict[str, float | None]:
    """The values of the generation options under the names that `ChatSession.ask` gives them."""
    return dict(zip(("max_new_tokens", "temperature", "seed"), options, strict=True))


def _chat_stream(middle: ChatPane, views: Iterator[chat.ChatView]) -> Iterator[list]:
    """Views of a streaming answer as values, all of one shape.

    Gradio sends what differs from the view before, and its browser part applies that in place, also to views
    that still wait to be shown: what a later view leaves out would be missing from those, too.
    """
    for view in views:
        yield middle.values(view)


def _private(register: Callable, handler: Callable, inputs: Any, outputs: Any, **options: Any) -> Any:
    """Registers a handler outside the public API; an error that a visitor can meet becomes a message.

    Gradio's own reading of the inputs is left out: `values` does it.

    Returns what `register` does, whose `then` registers what is to follow.
    """
    options = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False} | options
    wrapped = (
        _with_user_errors_stream(handler)
        if inspect.isgeneratorfunction(handler)
        else _with_user_errors(handler)
    )
    return register(wrapped, inputs, outputs, **options)


def _with_user_errors(handler: Callable) -> Callable:
    def call(*inputs: Any) -> Any:
        try:
            return handler(*inputs)
        except Exception as error:  # noqa: BLE001 - logged; the page shows one sentence, whatever it is
            raise _message(as_user_error(error)) from None

    return call


def _with_user_errors_stream(handler: Callable) -> Callable:
    def stream(*inputs: Any) -> Iterator[Any]:
        try:
            yield from handler(*inputs)
        except Exception as error:  # noqa: BLE001 - logged; the page shows one sentence, whatever it is
            raise _message(as_user_error(error)) from None

    return stream


def _message(error: StudioError) -> gr.Error:
    """An error as the page shows it; the banner of `wire_loss` shows that the chat is gone."""
    visible = not isinstance(error, SessionExpiredError)
    return gr.Error(str(error), visible=visible, print_exception=False)
