"""Has the page end in the state of the server, in whatever order messages reach it.

A message fills whole parts of the page, each with the version of what is in it. A browser shows what comes
last, and what comes last may be old. But whenever a message arrives, whose version has a number of its own,
the page sends the versions it shows, and gets each part anew whose version is not the present one. So it
comes to rest only in the present state.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import gradio as gr
from gradio.components import Component

from app.handlers import chat, choices, inspector
from app.model_pool import ModelPool
from app.page.image_input import UNCHANGED
from app.page.layout import ChatPane, ChoicesPane, InspectorPane
from app.page.versions import is_present
from app.session_store import SessionStore
from app.user_session import UserSession


@dataclass(frozen=True)
class Part:
    """A part of the page that is sent as a whole.

    `outputs` are its components, the version last; `inputs` say how it is drawn. `version` and `values` take
    a user session and the values of the inputs, and give the present version and the values of the outputs.
    """

    outputs: list[Component]
    version: Callable[..., str]
    values: Callable[..., list]
    inputs: list[Component]

    def unchanged(self) -> list:
        """Values of the outputs that change nothing."""
        return [UNCHANGED if isinstance(output, gr.Image) else gr.skip() for output in self.outputs]


def parts_of(pool: ModelPool, left: ChoicesPane, middle: ChatPane, right: InspectorPane) -> dict[str, Part]:
    """The parts of the page by name."""

    def numbered(part: str) -> Callable[[UserSession], str]:
        return lambda user: str(user.versions[part])

    return {
        "picture": Part(
            left.picture_outputs(),
            numbered("picture"),
            lambda user: left.picture_values(choices.picture(user)),
            [],
        ),
        "choices": Part(
            left.outputs(), numbered("choices"), lambda user: left.values(choices.view(user, pool)), []
        ),
        "chat": Part(middle.outputs(), numbered("chat"), lambda user: middle.values(chat.view(user)), []),
        "patches": Part(
            right.patches_outputs(),
            inspector.patches_version,
            lambda user, *drawing: right.patches_values(inspector.patches(user, *drawing)),
            right.patches_inputs(),
        ),
        "matrix": Part(
            right.matrix_outputs(),
            inspector.matrix_version,
            lambda user, *drawing: right.matrix_values(inspector.matrix(user, *drawing)),
            right.matrix_inputs(),
        ),
    }


def inputs_of(parts: Iterable[Part]) -> list[Component]:
    """What `values_of` takes after the user session, in its order."""
    return [component for part in parts for component in part.inputs]


def outputs_of(parts: Iterable[Part]) -> list[Component]:
    """What `values_of` fills, in its order."""
    return [component for part in parts for component in part.outputs]


def values_of(parts: Iterable[Part], user: UserSession, drawing: Iterable[str]) -> list:
    """The present values of several parts.

    Args:
        parts: of the page.
        user: the session that they show.
        drawing: values of their inputs.
    """
    left = iter(drawing)
    return [value for part in parts for value in part.values(user, *(next(left) for _ in part.inputs))]


def wire_refresh(
    register: Callable[..., object], store: SessionStore, session_key: gr.Textbox, parts: list[Part]
) -> None:
    """Registers the event by which the page asks for what is not the present state of the server.

    Args:
        register: takes what calls a handler, the handler, its inputs and outputs, and options of the event.
        store: where sessions are kept.
        session_key: holds the key of the page's session.
        parts: of the page.
    """
    versions = [part.outputs[-1] for part in parts]

    def refreshed(key: str, *values: str) -> list:
        state = store.get(key)
        shown, drawing = values[: len(parts)], iter(values[len(parts) :])
        filled = []
        with state.lock:
            for part, version in zip(parts, shown, strict=True):
                arguments = [next(drawing) for _ in part.inputs]
                present = is_present(version, part.version(state, *arguments))
                filled += part.unchanged() if present else part.values(state, *arguments)
        return filled

    events = [version.change for version in versions]  # pyright: ignore[reportAttributeAccessIssue]  # Gradio adds them
    changes = partial(gr.on, events)
    inputs = [session_key, *versions, *inputs_of(parts)]
    register(changes, refreshed, inputs, outputs_of(parts), trigger_mode="always_last", queue=False)
