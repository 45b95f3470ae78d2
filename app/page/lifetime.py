"""When a page gets a chat and loses it: the events of opening, closing and starting again."""

from dataclasses import dataclass

import gradio as gr
from gradio.events import Dependency

from app import settings
from app.handlers.chat import notice
from app.handlers.restart import LossView, full, loss
from app.session_store import SessionStore
from app.sweeper import Sweeper
from compressor.errors import ServerFullError

PRIVATE = {"api_visibility": "private", "show_progress": "hidden", "preprocess": False}


@dataclass(frozen=True)
class LossPane:
    """A banner over the page, hidden while the page has a chat."""

    banner: gr.Row
    sentence: gr.HTML
    again: gr.Button

    def outputs(self) -> list:
        """What `values` fills, in its order."""
        return [self.sentence, self.again, self.banner]

    @staticmethod
    def values(view: LossView | None) -> list:
        """A view as values of the outputs; None hides the banner."""
        if view is None:
            return ["", gr.skip(), gr.update(visible=False)]
        return [notice("error", view.sentence), gr.update(value=view.button), gr.update(visible=True)]


def loss_pane() -> LossPane:
    """Draws the banner."""
    with gr.Row(visible=False, elem_id="loss") as banner:
        sentence = gr.HTML()
        again = gr.Button("Start again", variant="primary", size="sm", scale=0, elem_id="again")
    return LossPane(banner, sentence, again)


@dataclass(frozen=True)
class Opening:
    """The events by which a page gets a chat: when it loads, and by the button of the banner."""

    loaded: Dependency
    again: Dependency


def wire_opening(demo: gr.Blocks, store: SessionStore, session_key: gr.Textbox, pane: LossPane) -> Opening:
    """Registers the opening and the closing of a page, and the sweeps in between."""
    sweeper = Sweeper(lambda: _sweep(demo, store), settings.SWEEP_S)

    def opened(request: gr.Request) -> str:
        try:
            key = store.open(request.session_hash)
        except ServerFullError as error:
            raise gr.Error(str(error), visible=False, print_exception=False) from None
        sweeper.start()
        return key

    def opened_again(request: gr.Request) -> list:
        return [opened(request), *pane.values(None)]

    def turned_away() -> list:
        return pane.values(full())

    def closed(request: gr.Request) -> None:
        store.close(request.session_hash)
        _forget(demo, {request.session_hash or ""})

    loaded = demo.load(opened, None, session_key, **PRIVATE)
    again = pane.again.click(opened_again, None, [session_key, *pane.outputs()], **PRIVATE)
    for opening in (loaded, again):
        opening.failure(turned_away, None, pane.outputs(), queue=False, **PRIVATE)
    demo.unload(closed)
    return Opening(loaded, again)


def wire_loss(
    demo: gr.Blocks, store: SessionStore, session_key: gr.Textbox, source: gr.Textbox, pane: LossPane
) -> None:
    """Has every event that failed ask whether its page has lost its chat; the last to be called."""

    def failed(key: str | None, origin: str) -> list:
        view = loss(store, key, origin)
        return [gr.skip() for _ in pane.outputs()] if view is None else pane.values(view)

    for index, function in list(demo.fns.items()):
        if session_key in function.inputs:
            event = Dependency(demo, {}, index, function.fn)
            event.failure(failed, [session_key, source], pane.outputs(), queue=False, **PRIVATE)


def _sweep(demo: gr.Blocks, store: SessionStore) -> bool:
    _forget(demo, store.sweep())
    return len(store) > 0


def _forget(demo: gr.Blocks, pages: set[str]) -> None:
    """Removes the last values of all components, the picture among them, that Gradio holds of these pages.

    Gradio itself keeps them until 10,000 newer pages have come.
    """
    holder = demo.state_holder
    with holder.lock:
        for page in pages:
            holder.session_data.pop(page, None)
            holder.time_last_used.pop(page, None)
