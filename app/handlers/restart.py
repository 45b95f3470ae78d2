"""A page whose chat the server no longer has: what it says, and how it starts again with its settings.

The page itself holds these settings, as the values of its components. All of them come from a browser, so all
are checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app import settings
from app.handlers import choices
from app.model_pool import ModelPool
from app.session_store import FULL, SessionStore
from app.user_session import UserSession
from compressor import list_methods, model_options, token_budget
from compressor.errors import InvalidOptionError, SessionExpiredError
from compressor.world.scenes import HELD_OUT

SEPARATORS = ("compress", "reinsert")
_NOT_VALID = "The settings of this page are not valid; choose a picture, a model and a method anew."


@dataclass(frozen=True)
class LossView:
    """What a page without a chat shows: a sentence, and the text of the button that starts again."""

    sentence: str
    button: str


def loss(store: SessionStore, key: str | None, source: str) -> LossView | None:
    """Why the chat of a key is gone; None where it is there.

    Args:
        store: where sessions are kept.
        key: of the session; None on a page that never had one.
        source: where the picture of the page came from (`UserSession.source`).
    """
    try:
        store.get(key)
    except SessionExpiredError as error:
        picture = "choose the picture again" if source == "upload" else "same picture and settings"
        return LossView(str(error), f"Start again ({picture})")
    return None


def full() -> LossView:
    """What a page shows that found no place."""
    return LossView(FULL, "Try again")


def resume(
    user: UserSession,
    pool: ModelPool,
    source: str,
    model: str,
    method: str,
    percent: float,
    separators: str,
    *shown: bool | int,
) -> None:
    """Gives a new session the settings of its page, and its picture unless that was uploaded.

    Args:
        user: the new session.
        pool: where models come from.
        source: a `UserSession.source`; "scene:" without a seed draws a new scene.
        model: one that `choices.await_model` has loaded.
        method: as `choices.set_compression` takes it.
        percent: as `choices.set_compression` takes it.
        separators: as `choices.set_compression` takes it.
        *shown: of `model_options`, in their order.

    Raises:
        StudioError: a value is not valid or the model cannot be used; the session is a new one again.
    """
    start_picture = _picture(source)
    _require_valid(method, percent, separators, shown)
    user.pending_model = None
    try:
        pool.get(model)
        user.model = model
        choices.set_compression(user, pool, method, percent, separators)
        choices.set_model_options(user, pool, *shown)
        start_picture(user, pool)
    except Exception:
        user.reset()
        raise


def _picture(source: object) -> Callable[[UserSession, ModelPool], None]:
    """What brings back the picture of a source.

    Raises:
        InvalidOptionError: it is no source.
    """
    text = source if isinstance(source, str) else "?"
    kind, _, name = text.partition(":")
    if text in ("", "upload"):
        return lambda user, pool: None
    if text == "scene:":
        return choices.new_scene
    if re.fullmatch(r"scene:[0-9]{1,10}", text) and HELD_OUT <= int(name) < 2 * HELD_OUT:
        return lambda user, pool: choices.new_scene(user, pool, int(name))
    if kind == "photograph" and name in settings.PHOTOGRAPHS:
        return lambda user, pool: choices.photograph(user, pool, name)
    raise InvalidOptionError(_NOT_VALID)


def _require_valid(method: object, percent: Any, separators: object, shown: tuple) -> None:
    """Refuses settings that no page has.

    Raises:
        InvalidOptionError, InvalidRateError: a value is of the wrong kind or out of its range.
    """
    known = method in [info.name for info in list_methods()] and separators in SEPARATORS
    options = model_options().values()
    allowed = len(shown) == len(options) and all(
        option.allows(value) for option, value in zip(options, shown, strict=True)
    )
    number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not (known and number and allowed):
        raise InvalidOptionError(_NOT_VALID)
    token_budget(1, percent / 100)
