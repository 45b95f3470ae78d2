"""What a browser sends, made into values that the page offers, or refused in one sentence.

A browser may send anything: an emptied number, a choice of an older page, a forged message. So every event
reads its inputs here, by what their components say of themselves, and handlers get only what was offered.
"""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.utils import get_upload_folder

from app.uploads import NOT_ARRIVED
from compressor.errors import InvalidInputError, StudioError

UNREADABLE = "The page sent something that cannot be read; reload it and try again."
_LOG = logging.getLogger(__name__)


def checked(components: Sequence[Component], values: Sequence[Any]) -> list[Any]:
    """The values of an event's inputs: texts, whole numbers where a component counts, paths of uploads.

    Args:
        components: the inputs of the event.
        values: what came for each of them; those of `gr.State` never leave the server and are not looked at.
    Raises:
        InvalidInputError: there are more or fewer values than inputs, or one is not on offer.
    """
    if len(components) != len(values):
        raise InvalidInputError(UNREADABLE)
    return [_check(component, value) for component, value in zip(components, values, strict=True)]


def check_events(demo: gr.Blocks) -> None:
    """Has every event of a page read its inputs by `checked`, and nothing reach a handler that is refused.

    The check comes before Gradio's own reading, which moves, or fetches, whatever a message calls a file.
    """
    read = demo.preprocess_data

    async def preprocess_data(function: Any, inputs: list[Any], *rest: Any, **options: Any) -> list[Any]:
        try:
            checked(function.inputs, inputs)
            return checked(function.inputs, await read(function, inputs, *rest, **options))
        except StudioError as error:
            sentence = str(error)
        except Exception as error:  # noqa: BLE001 - Gradio has no common error for what it cannot read
            _LOG.warning("An event's values could not be read (%s).", type(error).__name__)
            sentence = UNREADABLE
        raise gr.Error(sentence, print_exception=False)

    demo.preprocess_data = preprocess_data  # pyright: ignore[reportAttributeAccessIssue]  # Gradio has no hook


def _check(component: Component, value: Any) -> Any:
    check = next((check for kind, check in _CHECKS.items() if isinstance(component, kind)), None)
    return value if check is None else check(component, value)


def _number(component: gr.Number | gr.Slider, value: Any) -> float | None:
    """None is an emptied `gr.Number`, which is a choice; a slider always has a value."""
    if value is None and isinstance(component, gr.Number):
        return None
    whole = component.precision == 0 or getattr(component, "step", None) == 1
    low = -math.inf if component.minimum is None else component.minimum
    high = math.inf if component.maximum is None else component.maximum
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not low <= number <= high or not math.isfinite(number) or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise InvalidInputError(f"{component.label}: enter {kind} from {low:,} to {high:,}.")
    return int(number) if whole else float(number)


def _choice(component: gr.Dropdown | gr.Radio, value: Any) -> str:
    if not isinstance(value, str) or value not in [offered for _, offered in component.choices]:
        raise InvalidInputError(f"{component.label}: this is not among the choices; take one that is listed.")
    return value


def _flag(component: gr.Checkbox, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"{component.label}: this is neither on nor off; set it again.")
    return value


def _text(component: gr.Textbox | gr.Button, value: Any) -> str:
    """An emptied text may come as None."""
    if value is not None and not isinstance(value, str):
        raise InvalidInputError("The question is no text; type it again.")
    return value or ""


def _upload(component: gr.Image, value: Any) -> str | None:
    """The path of a file that this server received; a message may name any file of this machine."""
    if value is None:
        return None
    path = value.get("path") if isinstance(value, dict) else None
    received = Path(get_upload_folder()).resolve()
    if not isinstance(path, str) or not path or not Path(path).resolve().is_relative_to(received):
        raise InvalidInputError(NOT_ARRIVED)
    return path


_CHECKS: dict[type | tuple[type, ...], Callable[[Any, Any], Any]] = {
    (gr.Slider, gr.Number): _number,
    (gr.Dropdown, gr.Radio): _choice,
    gr.Checkbox: _flag,
    (gr.Textbox, gr.Button): _text,
    gr.Image: _upload,
}
