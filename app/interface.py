"""The page: three columns, and which event calls which handler. Nothing is decided here."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app import chat, choices, inspector, restart, settings, values
from app.lifetime import Opening, loss_pane, wire_loss, wire_opening
from app.loading import Shelf
from app.panes import MASTHEAD, ChatPane, ChoicesPane, InspectorPane, chat_pane, choices_pane, inspector_pane
from app.sessions import Visit, VisitStore
from app.uploads import MAX_BYTES
from compressor.errors import StudioError, UnknownVisitError

# While the slider moves, its line follows in the browser; the numbers come with it, from `token_budget`. The
# slider and its line are never written back while it moves, or the thumb would jump under the hand.
FOLLOW_RATE = """(rate) => {
  const line = document.getElementById("rate-line");
  if (!line) return;
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


def build(shelf: Shelf, store: VisitStore) -> gr.Blocks:
    """The whole page.

    Args:
        shelf: where models come from.
        store: where visits are kept.
    """
    title = "MetaCompress Studio"
    with gr.Blocks(title=title, fill_width=True, analytics_enabled=False, delete_cache=(600, 600)) as demo:
        visit = gr.Textbox(None, visible=False)  # a `gr.State` would be lost when the server restarts
        banner = loss_pane()
        gr.HTML(MASTHEAD)
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=3, min_width=320):
                left = choices_pane(shelf)
            with gr.Column(scale=5, min_width=320):
                middle = chat_pane()
            with gr.Column(scale=4, min_width=320):
                right = inspector_pane()
        opening = wire_opening(demo, store, visit, banner)
        _wire_choices(opening, shelf, store, visit, left, middle, right)
        _wire_chat(store, visit, left, middle, right)
        _wire_inspector(store, visit, right)
        wire_loss(demo, store, visit, left.source, banner)
    values.check_events(demo)
    return demo.queue(max_size=settings.QUEUE, default_concurrency_limit=settings.PREVIEWS_AT_ONCE)


def _wire_choices(
    opening: Opening,
    shelf: Shelf,
    store: VisitStore,
    visit: gr.Textbox,
    left: ChoicesPane,
    middle: ChatPane,
    right: InspectorPane,
) -> None:
    """What is chatted about: each change redraws the projection, all but method and rate clear the chat."""
    everything = [*left.outputs(), *middle.outputs(), *right.outputs()]

    def attempt(change: Callable[..., bool | None], key: str, inputs: tuple) -> tuple[Visit, list]:
        """Makes a change; returns the visit, which knows what went wrong, and its projection as drawn now.

        Where a change returns False there was nothing to do, and what went wrong before is still told.
        """
        state = store.get(key)
        split = len(inputs) - len(right.inputs())
        arguments, drawing = inputs[:split], inputs[split:]
        try:
            if change(state, shelf, *arguments) is not False:
                state.problem = ""
        except StudioError as error:
            state.problem = str(error)
        return state, right.values(inspector.view(state, *drawing))

    def changed(change: Callable[..., None], key: str, *inputs: Any) -> list:
        state, drawn = attempt(change, key, inputs)
        return [*left.values(choices.view(state, shelf)), *middle.values(chat.view(state)), *drawn]

    def rated(key: str, *inputs: Any) -> list:
        state, drawn = attempt(choices.retune, key, inputs)
        return [choices.view(state, shelf).notice, *drawn]

    def on(register: Callable, change: Callable[..., None], *inputs: Any) -> None:
        inputs = [visit, *inputs, *right.inputs()]
        handler = functools.partial(changed, change)
        _private(register, handler, inputs, everything, trigger_mode="always_last")

    _wire_loading(opening, shelf, store, visit, left, on)
    for option in left.shown.values():
        changes = option.release if isinstance(option, gr.Slider) else option.input
        on(changes, choices.show, *left.shown.values())
    on(left.picture.upload, choices.upload, left.picture)
    on(left.picture.clear, choices.remove_picture)
    on(left.new_scene.click, choices.new_scene)
    demo.load(None, js=REFUSE_LARGE, api_visibility="private")
    on(left.too_large.click, choices.refuse_upload)
    for title, button in left.photographs.items():
        on(button.click, functools.partial(choices.photograph, title=title))
    on(left.method.input, choices.retune, *left.tuning())
    on(left.separators.input, choices.retune, *left.tuning())
    inputs = [visit, *left.tuning(), *right.inputs()]
    _private(left.rate.input, rated, inputs, [left.notice, *right.outputs()], trigger_mode="always_last")
    left.rate.input(None, left.rate, None, js=FOLLOW_RATE, api_visibility="private")


def _wire_loading(
    opening: Opening,
    shelf: Shelf,
    store: VisitStore,
    visit: gr.Textbox,
    left: ChoicesPane,
    on: Callable[..., None],
) -> None:
    """What waits for a model: only the notice is written meanwhile; then `on` makes the change."""

    def arriving() -> Iterator[str]:
        for progress in shelf.loading(settings.FIRST_MODEL):
            yield chat.progress_notice(*progress)

    def waiting(key: str, name: str) -> Iterator[str]:
        yield from choices.await_model(store.get(key), shelf, name)

    waits = {"trigger_mode": "multiple", "concurrency_limit": settings.WAITING_AT_ONCE}
    loaded = _private(opening.loaded.success, arriving, None, left.notice, **waits)
    on(loaded.success, choices.new_scene)
    loaded = _private(opening.again.success, waiting, [visit, left.model], left.notice, **waits)
    on(loaded.success, restart.resume, left.source, left.model, *left.tuning(), *left.shown.values())
    loaded = _private(left.model.input, waiting, [visit, left.model], left.notice, **waits)
    on(loaded.success, choices.choose_model, left.model)


def _wire_chat(
    store: VisitStore, visit: gr.Textbox, left: ChoicesPane, middle: ChatPane, right: InspectorPane
) -> None:
    """Asking in all its ways, stopping, taking back."""

    decision = gr.State(0)  # pictures cannot be skipped as outputs (see `picture`), so a change redraws them

    def asked(key: str, question: str, *options: float) -> Iterator[list]:
        state = store.get(key)
        for shown in _chat_stream(middle, chat.ask(state, question, **_named(options))):
            yield [*shown, inspector.decision(state)]

    def regenerated(key: str, *options: float) -> Iterator[list]:
        state = store.get(key)
        for shown in _chat_stream(middle, chat.regenerate(state, **_named(options))):
            yield [*shown, inspector.decision(state)]

    def stopped(key: str) -> None:
        chat.stop(store.get(key))

    def undone(key: str) -> list:
        state = store.get(key)
        return [*middle.values(chat.undo(state)), inspector.decision(state)]

    def cleared(key: str) -> list:
        state = store.get(key)
        return [*middle.values(chat.clear(state)), inspector.decision(state)]

    def decided(key: str, *drawing: str) -> list:
        return right.values(inspector.view(store.get(key), *drawing))

    def on(register: Callable, handler: Callable, *inputs: Any) -> None:
        slot = {"concurrency_id": "answer", "concurrency_limit": settings.ANSWERS_AT_ONCE}
        outputs = [*middle.outputs(), decision]
        _private(register, handler, [visit, *inputs, *left.options], outputs, **slot)

    on(middle.question.submit, asked, middle.question)
    on(middle.ask.click, asked, middle.question)
    for button in middle.suggestions:
        on(button.click, asked, button)
    on(middle.regenerate.click, regenerated)
    _private(decision.change, decided, [visit, *right.inputs()], right.outputs())
    _private(middle.stop.click, stopped, visit, None, queue=False)
    _private(middle.undo.click, undone, visit, [*middle.outputs(), decision])
    _private(middle.clear.click, cleared, visit, [*middle.outputs(), decision])


def _wire_inspector(store: VisitStore, visit: gr.Textbox, right: InspectorPane) -> None:
    """How the projection is drawn: only what shows the change is drawn anew."""

    def recoloured(key: str, *drawing: str) -> list:
        return list(inspector.patches(store.get(key), *drawing))

    def reshaded(key: str, *drawing: str) -> list:
        return [inspector.matrix(store.get(key), *drawing)]

    for radios, redraw, outputs in (
        (right.patches_inputs(), recoloured, [right.overlay, right.legend]),
        (right.matrix_inputs(), reshaded, [right.heatmap]),
    ):
        for radio in radios:
            _private(radio.input, redraw, [visit, *radios], outputs, trigger_mode="always_last")


def _named(options: tuple[float | None, ...]) -> dict[str, float | None]:
    """The values of the generation options under the names that `ChatSession.ask` gives them."""
    return dict(zip(("max_new_tokens", "temperature", "seed"), options, strict=True))


def _chat_stream(middle: ChatPane, views: Iterator[chat.ChatView]) -> Iterator[list]:
    """Views of a streaming answer as values; between the first and the last only the transcript is sent."""
    running = False
    for view in views:
        shown = middle.values(view)
        yield [shown[0], *(gr.skip() for _ in shown[1:])] if running and view.running else shown
        running = view.running


def _private(register: Callable, handler: Callable, inputs: Any, outputs: Any, **options: Any) -> Any:
    """Registers a handler outside the public API; an error that a visitor can meet becomes a message.

    Gradio's own reading of the inputs is left out: `values` does it.

    Returns what `register` does, whose `then` registers what is to follow.
    """
    options = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False} | options
    told = _told_stream(handler) if inspect.isgeneratorfunction(handler) else _told(handler)
    return register(told, inputs, outputs, **options)


def _told(handler: Callable) -> Callable:
    def call(*inputs: Any) -> Any:
        try:
            return handler(*inputs)
        except StudioError as error:
            raise _message(error) from None

    return call


def _told_stream(handler: Callable) -> Callable:
    def stream(*inputs: Any) -> Iterator[Any]:
        try:
            yield from handler(*inputs)
        except StudioError as error:
            raise _message(error) from None

    return stream


def _message(error: StudioError) -> gr.Error:
    """An error as the page shows it; the banner of `wire_loss` shows that the chat is gone."""
    visible = not isinstance(error, UnknownVisitError)
    return gr.Error(str(error), visible=visible, print_exception=False)
