"""The left column: which picture, model, method and rate a visitor chats with.

Plain functions that change a `UserSession`. Whatever fails leaves the session as it was.
"""

import copy
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from app import settings
from app.handlers.chat import notice, plain, progress_notice
from app.model_pool import ModelPool
from app.uploads import TOO_LARGE, clean_image, take_upload
from app.user_session import UserSession
from compressor import ChatSession, list_methods, model_options, token_budget
from compressor.errors import ImageError
from compressor.world import scenes


@dataclass(frozen=True)
class PictureView:
    """The picture, where it comes from (`UserSession.source`), and its version."""

    picture: Image.Image | None
    source: str
    version: int


@dataclass(frozen=True)
class ChoicesView:
    """What the left column shows but the picture.

    `methods` are (label, name) pairs, `shown` options of the model by name.
    `refused_rate` is None, or the rate in percent that holds after a change that failed: what the slider then
    goes back to; `version` is that of the session.
    """

    notice: str
    model: str
    about_model: str
    methods: list[tuple[str, str]]
    method: str
    about_method: str
    rate_line: str
    rate_matters: bool
    separators: str
    separators_matter: bool
    shown: dict[str, bool | int]
    refused_rate: int | None
    version: int


def new_scene(user: UserSession, pool: ModelPool, seed: int | None = None) -> None:
    """Draws a generated scene that no training has seen, and starts a chat about it."""
    seed = scenes.HELD_OUT + secrets.randbelow(scenes.HELD_OUT) if seed is None else seed
    scene = scenes.scene(seed)
    _start(user, pool, scene.image, scene)


def upload(user: UserSession, pool: ModelPool, path: str | None) -> None:
    """Starts a chat about an uploaded picture; the file is deleted."""
    _start(user, pool, take_upload(path), None)


def refuse_upload(user: UserSession, pool: ModelPool) -> None:
    """Says why the page did not send a file.

    Raises:
        ImageError: always: the page measures files, as a large one is better refused before it is sent.
    """
    raise ImageError(TOO_LARGE)


def photograph(user: UserSession, pool: ModelPool, title: str) -> None:
    """Starts a chat about the bundled photograph of this title."""
    image = clean_image(settings.PHOTOGRAPHS[title].read_bytes())
    _start(user, pool, image, None, photograph=title)


def remove_picture(user: UserSession, pool: ModelPool) -> None:
    """Ends the chat and forgets its picture."""
    with user.interrupting():
        user.image = user.scene = user.photograph = user.chat = None
        user.settings_of_turns.clear()


def await_model(user: UserSession, pool: ModelPool, name: str) -> Iterator[str]:
    """Loads a model and says how far that is; the chat with the present one goes on meanwhile.

    It ends early where the visitor chooses another one. `choose_model` follows.

    Raises:
        UnknownModelError: it is not offered.
    """
    user.pending_model = pool.listing(name).name
    for progress in pool.loading(name):
        if user.pending_model != name:
            return
        yield progress_notice(*progress)


def choose_model(user: UserSession, pool: ModelPool, name: str) -> bool:
    """Starts a chat about the same picture with a model that `await_model` has loaded.

    With the model in use the chat goes on. Returns False, and does nothing, where another one has been chosen
    since, or the choice has been dealt with: a browser reports each twice.
    """
    if user.pending_model != name:
        return False
    try:
        if user.image is None:
            pool.get(name)
            user.model = name
        elif name != user.model:
            _start(user, pool, user.image, user.scene, photograph=user.photograph, model=name)
    finally:
        if user.pending_model == name:
            user.pending_model = None
    return True


def set_model_options(user: UserSession, pool: ModelPool, *values: bool | int) -> None:
    """Starts a chat about the same picture under other options of the model.

    Args:
        user: the session.
        pool: where models come from.
        *values: of `model_options`, in their order.
    """
    shown = dict(zip(model_options(), values, strict=True))
    if user.image is None:
        user.shown = shown
    else:
        _start(user, pool, user.image, user.scene, photograph=user.photograph, shown=shown)


def set_compression(
    user: UserSession, pool: ModelPool, method: str, percent: float, separators: str = "compress"
) -> None:
    """Sets how the picture is compressed; a running answer is stopped, the transcript stays."""
    rate = percent / 100
    with user.interrupting():
        if user.chat is not None:
            trial = copy.copy(user.chat)  # the chat that holds is changed by nothing that fails
            trial.configure(method, rate, **method_options(method, separators))
            _compress(trial, pool)
            user.chat = trial
        user.method, user.rate, user.separators = method, rate, separators


def method_options(method: str, separators: str) -> dict[str, str]:
    """The options of a method; those that see no separators, or need no choice, have none."""
    return {"separators": separators} if _chooses(method) and separators != "compress" else {}


def _chooses(method: str) -> bool:
    """Whether a method reads separators and could leave them out."""
    return method != "none" and any(
        info.name == method and info.stage == "embedding" for info in list_methods()
    )


def picture(user: UserSession) -> PictureView:
    """The picture as it stands."""
    with user.lock:
        return PictureView(user.image, user.source, user.versions["picture"])


def view(user: UserSession, pool: ModelPool) -> ChoicesView:
    """The left column as it stands; what went wrong last takes the place of the usual notice."""
    with user.lock:
        method = next(info for info in list_methods() if info.name == user.method)
        model = pool.listing(user.pending_model or user.model)
        is_photograph = user.image is not None and user.scene is None  # the bundled model knows none
        return ChoicesView(
            notice=notice("error", user.last_error) or notice("info", model.notice if is_photograph else ""),
            model=model.name,
            about_model=model.description,
            methods=method_choices() if user.chat is None else pool.methods(user.model),
            method=user.method,
            about_method=method.description,
            rate_line=rate_line(user),
            rate_matters=user.method != "none",
            separators=user.separators,
            separators_matter=user.has_separators and _chooses(user.method),
            shown=_shown(user),
            refused_rate=round(user.rate * 100) if user.last_error else None,
            version=user.versions["choices"],
        )


def _shown(user: UserSession) -> dict[str, bool | int]:
    """The options of the model by which it can be shown this picture in another way."""
    if user.chat is None or user.image is None:
        return {}
    square, options = user.image.width == user.image.height, model_options()
    return {
        name: value
        for name, value in user.chat.model.options.items()
        if options[name].of_squares or not square
    }


def rate_line(user: UserSession) -> str:
    """The line under the slider: the rate and "n → m", with m for every rate, for the page to follow."""
    if user.chat is None:
        return ""
    m, tokens = user.chat.image_tokens, user.chat.tokens
    n, length = len(tokens), user.chat.method.output_length
    rate = f"{user.rate:.0%}" if user.method != "none" else "no compression"
    budgets = ",".join(str(length(tokens, token_budget(n, percent / 100))) for percent in range(100))
    return (
        f'<p id="rate-line" data-budgets="{budgets}"><span class="rate">{rate}</span> '
        f'<b>{n} → <span class="m">{m}</span></b> image tokens</p>'
    )


def _start(
    user: UserSession,
    pool: ModelPool,
    image: Image.Image,
    scene: scenes.Scene | None,
    *,
    photograph: str | None = None,
    model: str | None = None,
    shown: dict[str, bool | int] | None = None,
) -> None:
    """Compresses the picture and puts a new chat about it in the place of the old one; None keeps what is."""
    model, shown = model or user.model, user.shown if shown is None else shown
    loaded = pool.get(model)
    with user.interrupting():
        options = method_options(user.method, user.separators)
        variant = loaded.variant(**{name: shown[name] for name in loaded.options if name in shown})
        chat = ChatSession(variant, image, user.method, user.rate, **options)
        _compress(chat, pool)
        user.image, user.scene, user.photograph = image, scene, photograph
        user.chat, user.model, user.shown = chat, model, shown
        user.settings_of_turns.clear()


def _compress(chat: ChatSession, pool: ModelPool) -> None:
    """Has the session make its P and the reduced tokens now: they show at once, and no answer waits."""
    with pool.computing:
        _ = chat.reduced


def model_choices(pool: ModelPool) -> list[tuple[str, str]]:
    """(label, name) of every model on offer."""
    return [
        (listing.title if listing.fits else f"{listing.title} (not here)", listing.name)
        for listing in pool.listings
    ]


def models_here(pool: ModelPool) -> str:
    """A list of all models: which fit this machine, and why the others do not."""
    items = "".join(
        f"<li><b>{plain(listing.title)}: {'fits' if listing.fits else 'does not fit'}.</b> "
        f'{plain(listing.sentence)} <span class="facts">{plain(listing.facts)}</span></li>'
        for listing in pool.listings
    )
    return f'<ul class="models">{items}</ul>'


def method_choices() -> list[tuple[str, str]]:
    """(label, name) of every method."""
    return [(info.title, info.name) for info in list_methods()]
