"""The left column: which picture, model, method and rate a visitor chats with.

Plain functions that change a `Visit`. Whatever fails leaves the visit as it was.
"""

import copy
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from app import settings
from app.handlers.chat import notice, plain, progress_notice
from app.model_pool import Shelf
from app.uploads import TOO_LARGE, clean_image, take_upload
from app.user_session import Visit
from compressor import ChatSession, list_methods, model_options, token_budget
from compressor.errors import ImageError
from compressor.world import scenes


@dataclass(frozen=True)
class PictureView:
    """The picture, where it comes from (`Visit.source`), and its version."""

    picture: Image.Image | None
    source: str
    version: int


@dataclass(frozen=True)
class ChoicesView:
    """What the left column shows but the picture.

    `methods` are (label, name) pairs, `shown` options of the model by name.
    `refused_rate` is None, or the rate in percent that holds after a change that failed: what the slider then
    goes back to; `version` is that of the visit.
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


def new_scene(visit: Visit, shelf: Shelf, seed: int | None = None) -> None:
    """Draws a generated scene that no training has seen, and starts a chat about it."""
    seed = scenes.HELD_OUT + secrets.randbelow(scenes.HELD_OUT) if seed is None else seed
    scene = scenes.scene(seed)
    _start(visit, shelf, scene.image, scene)


def upload(visit: Visit, shelf: Shelf, path: str) -> None:
    """Starts a chat about an uploaded picture; the file is deleted."""
    _start(visit, shelf, take_upload(path), None)


def refuse_upload(visit: Visit, shelf: Shelf) -> None:
    """Says why the page did not send a file.

    Raises:
        ImageError: always: the page measures files, as a large one is better refused before it is sent.
    """
    raise ImageError(TOO_LARGE)


def photograph(visit: Visit, shelf: Shelf, title: str) -> None:
    """Starts a chat about the bundled photograph of this title."""
    image = clean_image(settings.PHOTOGRAPHS[title].read_bytes())
    _start(visit, shelf, image, None, photograph=title)


def remove_picture(visit: Visit, shelf: Shelf) -> None:
    """Ends the chat and forgets its picture."""
    with visit.interrupting():
        visit.image = visit.scene = visit.photograph = visit.chat = None
        visit.settings_of_turns.clear()


def await_model(visit: Visit, shelf: Shelf, name: str) -> Iterator[str]:
    """Loads a model and says how far that is; the chat with the present one goes on meanwhile.

    It ends early where the visitor chooses another one. `choose_model` follows.

    Raises:
        UnknownModelError: it is not offered.
    """
    visit.wanted = shelf.offer(name).name
    for progress in shelf.loading(name):
        if visit.wanted != name:
            return
        yield progress_notice(*progress)


def choose_model(visit: Visit, shelf: Shelf, name: str) -> bool:
    """Starts a chat about the same picture with a model that `await_model` has loaded.

    With the model in use the chat goes on. Returns False, and does nothing, where another one has been chosen
    since, or the choice has been dealt with: a browser reports each twice.
    """
    if visit.wanted != name:
        return False
    try:
        if visit.image is None:
            shelf.get(name)
            visit.model = name
        elif name != visit.model:
            _start(visit, shelf, visit.image, visit.scene, photograph=visit.photograph, model=name)
    finally:
        if visit.wanted == name:
            visit.wanted = None
    return True


def show(visit: Visit, shelf: Shelf, *values: bool | int) -> None:
    """Starts a chat about the same picture, shown to the model in another way.

    Args:
        values: of `model_options`, in their order.
    """
    shown = dict(zip(model_options(), values, strict=True))
    if visit.image is None:
        visit.shown = shown
    else:
        _start(visit, shelf, visit.image, visit.scene, photograph=visit.photograph, shown=shown)


def retune(visit: Visit, shelf: Shelf, method: str, percent: float, separators: str = "compress") -> None:
    """Sets how the picture is compressed; a running answer is stopped, the transcript stays."""
    rate = percent / 100
    with visit.interrupting():
        if visit.chat is not None:
            trial = copy.copy(visit.chat)  # the chat that holds is changed by nothing that fails
            trial.configure(method, rate, **method_options(method, separators))
            _compress(trial, shelf)
            visit.chat = trial
        visit.method, visit.rate, visit.separators = method, rate, separators


def method_options(method: str, separators: str) -> dict[str, str]:
    """The options of a method; those that see no separators, or need no choice, have none."""
    return {"separators": separators} if _chooses(method) and separators != "compress" else {}


def _chooses(method: str) -> bool:
    """Whether a method reads separators and could leave them out."""
    return method != "none" and any(
        info.name == method and info.stage == "embedding" for info in list_methods()
    )


def picture(visit: Visit) -> PictureView:
    """The picture as it stands."""
    with visit.lock:
        return PictureView(visit.image, visit.source, visit.versions["picture"])


def view(visit: Visit, shelf: Shelf) -> ChoicesView:
    """The left column as it stands; what went wrong last takes the place of the usual notice."""
    with visit.lock:
        method = next(info for info in list_methods() if info.name == visit.method)
        model = shelf.offer(visit.wanted or visit.model)
        is_photograph = visit.image is not None and visit.scene is None  # the bundled model knows none
        return ChoicesView(
            notice=notice("error", visit.problem) or notice("info", model.notice if is_photograph else ""),
            model=model.name,
            about_model=model.description,
            methods=method_choices() if visit.chat is None else shelf.methods(visit.model),
            method=visit.method,
            about_method=method.description,
            rate_line=rate_line(visit),
            rate_matters=visit.method != "none",
            separators=visit.separators,
            separators_matter=visit.has_separators and _chooses(visit.method),
            shown=_shown(visit),
            refused_rate=round(visit.rate * 100) if visit.problem else None,
            version=visit.versions["choices"],
        )


def _shown(visit: Visit) -> dict[str, bool | int]:
    """The options of the model by which it can be shown this picture in another way."""
    if visit.chat is None:
        return {}
    square, options = visit.image.width == visit.image.height, model_options()
    return {
        name: value
        for name, value in visit.chat.model.options.items()
        if options[name].of_squares or not square
    }


def rate_line(visit: Visit) -> str:
    """The line under the slider: the rate and "n → m", with m for every rate, for the page to follow."""
    if visit.chat is None:
        return ""
    m, tokens = visit.chat.image_tokens, visit.chat.tokens
    n, size = len(tokens), visit.chat.method.size
    rate = f"{visit.rate:.0%}" if visit.method != "none" else "no compression"
    budgets = ",".join(str(size(tokens, token_budget(n, percent / 100))) for percent in range(100))
    return (
        f'<p id="rate-line" data-budgets="{budgets}"><span class="rate">{rate}</span> '
        f'<b>{n} → <span class="m">{m}</span></b> image tokens</p>'
    )


def _start(
    visit: Visit,
    shelf: Shelf,
    image: Image.Image,
    scene: scenes.Scene | None,
    *,
    photograph: str | None = None,
    model: str | None = None,
    shown: dict[str, bool | int] | None = None,
) -> None:
    """Compresses the picture and puts a new chat about it in the place of the old one; None keeps what is."""
    model, shown = model or visit.model, visit.shown if shown is None else shown
    loaded = shelf.get(model)
    with visit.interrupting():
        options = method_options(visit.method, visit.separators)
        variant = loaded.variant(**{name: shown[name] for name in loaded.options if name in shown})
        chat = ChatSession(variant, image, visit.method, visit.rate, **options)
        _compress(chat, shelf)
        visit.image, visit.scene, visit.photograph = image, scene, photograph
        visit.chat, visit.model, visit.shown = chat, model, shown
        visit.settings_of_turns.clear()


def _compress(chat: ChatSession, shelf: Shelf) -> None:
    """Has the session make its P and the reduced tokens now: they show at once, and no answer waits."""
    with shelf.computing:
        _ = chat.reduced


def model_choices(shelf: Shelf) -> list[tuple[str, str]]:
    """(label, name) of every model on offer."""
    return [
        (offer.title if offer.fits else f"{offer.title} (not here)", offer.name) for offer in shelf.offers
    ]


def models_here(shelf: Shelf) -> str:
    """A list of all models: which fit this machine, and why the others do not."""
    items = "".join(
        f"<li><b>{plain(offer.title)}: {'fits' if offer.fits else 'does not fit'}.</b> "
        f'{plain(offer.sentence)} <span class="facts">{plain(offer.facts)}</span></li>'
        for offer in shelf.offers
    )
    return f'<ul class="models">{items}</ul>'


def method_choices() -> list[tuple[str, str]]:
    """(label, name) of every method."""
    return [(info.title, info.name) for info in list_methods()]
