"""A page whose chat the server no longer has: what it says, and how it starts again with its settings.

The page itself holds these settings, as the values of its components. All of them come from a browser, so all
are checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app import settings
from app.handlers import choices
from app.model_pool import Shelf
from app.session_store import FULL, VisitStore
from app.user_session import Visit
from compressor import list_methods, model_options, token_budget
from compressor.errors import InvalidOptionError, UnknownVisitError
from compressor.world.scenes import HELD_OUT

SEPARATORS = ("compress", "reinsert")
_NOT_VALID = "The settings of this page are not valid; choose a picture, a model and a method anew."


@dataclass(frozen=True)
class LossView:
    """What a page without a chat shows: a sentence, and the text of the button that starts again."""

    sentence: str
    button: str


def loss(store: VisitStore, key: str | None, source: str) -> LossView | None:
    """Why the chat of a key is gone; None where it is there.

    Args:
        source: where the picture of the page came from (`Visit.source`).
    """
    try:
        store.get(key)
    except UnknownVisitError as error:
        picture = "choose the picture again" if source == "upload" else "same picture and settings"
        return LossView(str(error), f"Start again ({picture})")
    return None


def full() -> LossView:
    """What a page shows that found no place."""
    return LossView(FULL, "Try again")


def resume(
    visit: Visit,
    shelf: Shelf,
    source: str,
    model: str,
    method: str,
    percent: float,
    separators: str,
    *shown: bool | int,
) -> None:
    """Gives a new visit the settings of its page, and its picture unless that was uploaded.

    Args:
        source: a `Visit.source`; "scene:" without a seed draws a new scene.
        model: one that `choices.await_model` has loaded.
        method, percent, separators: as `choices.retune` takes them.
        shown: of `model_options`, in their order.

    Raises:
        StudioError: a value is not valid or the model cannot be used. Whatever it is, the visit is a new one
            again.
    """
    start_picture = _picture(source)
    _require_valid(method, percent, separators, shown)
    visit.wanted = None
    try:
        shelf.get(model)
        visit.model = model
        choices.retune(visit, shelf, method, percent, separators)
        choices.show(visit, shelf, *shown)
        start_picture(visit, shelf)
    except Exception:
        visit.reset()
        raise


def _picture(source: object) -> Callable[[Visit, Shelf], None]:
    """What brings back the picture of a source.

    Raises:
        InvalidOptionError: it is no source.
    """
    text = source if isinstance(source, str) else "?"
    kind, _, name = text.partition(":")
    if text in ("", "upload"):
        return lambda visit, shelf: None
    if text == "scene:":
        return choices.new_scene
    if re.fullmatch(r"scene:[0-9]{1,10}", text) and HELD_OUT <= int(name) < 2 * HELD_OUT:
        return lambda visit, shelf: choices.new_scene(visit, shelf, int(name))
    if kind == "photograph" and name in settings.PHOTOGRAPHS:
        return lambda visit, shelf: choices.photograph(visit, shelf, name)
    raise InvalidOptionError(_NOT_VALID)


def _require_valid(method: object, percent: object, separators: object, shown: tuple) -> None:
    """Refuses settings that no page has.

    Raises:
        InvalidOptionError, InvalidRateError: a value is of the wrong kind or out of its range.
    """
    known = method in [info.name for info in list_methods()] and separators in SEPARATORS
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    options = model_options().values()
    allowed = len(shown) == len(options) and all(
        option.allows(value) for option, value in zip(options, shown, strict=True)
    )
    if not (known and number and allowed):
        raise InvalidOptionError(_NOT_VALID)
    token_budget(1, percent / 100)
