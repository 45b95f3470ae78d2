"""The models of this process: which the page offers, and those that are loaded, each once."""

import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from compressor import (
    ModelCard,
    best_load_options,
    card_of,
    get_method,
    list_methods,
    list_models,
    load_model,
)
from compressor.errors import (
    InvalidOptionError,
    ModelError,
    NoMemoryLeftError,
    StudioError,
    UnknownModelError,
    log_cause,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelListing:
    """A model as the page lists it.

    `facts` are its size and licence in a line; `sentence` says why it does not fit this machine, or what else
    there is to know of its files; `notice` is what to know before judging its answers; `load_options` are the
    options of `load_model` by which it fits.
    """

    name: str
    title: str
    description: str
    fits: bool
    sentence: str
    facts: str = ""
    notice: str = ""
    load_options: Mapping[str, Any] = field(default_factory=dict)


class Progress(NamedTuple):
    """How far the loading of a model is: the share that is done, in [0, 1], and a sentence."""

    share: float
    sentence: str


def local_models(directories: str) -> dict[str, Path]:
    """Checkpoints of this machine by the names of their directories.

    Args:
        directories: paths, separated as in PATH.
    Raises:
        InvalidOptionError: one is not a directory, or its name is taken.
    """
    found: dict[str, Path] = {}
    taken = {card.name for card in list_models()}
    for text in filter(None, directories.split(os.pathsep)):
        path = Path(text).resolve()
        if not path.is_dir():
            raise InvalidOptionError(f"STUDIO_MODELS: {text} is not a directory.")
        if path.name in taken:
            raise InvalidOptionError(
                f"There are two models called {path.name!r}; rename a directory of STUDIO_MODELS."
            )
        taken.add(path.name)
        found[path.name] = path
    return found


class ModelPool:
    """Loads models by name, each once and in a thread of its own, and keeps them while there is room.

    Args:
        load: from a catalog name or a directory to a model, telling `progress` (see `load_model`).
        local: what is offered beside the catalog, by name.
        in_use: says which models visitors chat with: they are never unloaded to make room for another one.
    """

    def __init__(
        self,
        load: Callable[..., Any] = load_model,
        local: Mapping[str, Path] | None = None,
        in_use: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._load, self._in_use = load, in_use
        self._sources: dict[str, str | Path] = {card.name: card.name for card in list_models()}
        self._sources |= local or {}
        self.listings = [_listing(card) for card in list_models()]
        self.listings += [_local_listing(name, directory) for name, directory in (local or {}).items()]
        self._models: dict[str, Future[Any]] = {}
        self._progress: dict[str, Progress] = {}
        self._labels: dict[str, list[tuple[str, str]]] = {}
        self._lock = threading.Lock()  # of the two dictionaries of what is loaded
        self.computing = threading.Lock()  # pictures are encoded and compressed one at a time

    def get(self, name: str) -> Any:
        """The model of this name, loaded if need be; who wants one that is being loaded waits for it.

        Raises:
            ModelError: it is not offered, or cannot be loaded here; the next time is a new attempt.
        """
        loading = self._begin(name)
        failed = loading.exception() is not None  # waits for the end
        with self._lock:
            if failed and self._models.get(name) is loading:
                del self._models[name]
        return loading.result()

    def loading(self, name: str, every_s: float = 0.25) -> Iterator[Progress]:
        """Loads the model of this name if needed, and yields progress until loading ends.

        Errors are raised by `get`.

        Raises:
            UnknownModelError: it is not offered.
        """
        loading = self._begin(name)
        while wait_for([loading], every_s).not_done:
            yield self._progress[name]

    def _begin(self, name: str) -> Future[Any]:
        """The model's Future; starts a daemon thread that loads it if needed."""
        title = self.listing(name).title
        with self._lock:
            if name not in self._models:
                self._models[name] = Future()
                self._progress[name] = Progress(0.0, f"Loading {title}")
                threading.Thread(target=self._fill, args=(name, self._models[name]), daemon=True).start()
            return self._models[name]

    def _fill(self, name: str, loading: Future[Any]) -> None:
        def tell(share: float, sentence: str) -> None:
            self._progress[name] = Progress(share, sentence)

        load = partial(self._load, self._sources[name], progress=tell, **self.listing(name).load_options)
        try:
            loading.set_result(self._with_room(load))
        except Exception as error:  # whatever it is, it belongs to those who wait
            if not isinstance(error, StudioError):  # whose cause is in the log already
                logger.exception("Loading %s", name)
            loading.set_exception(error)

    def _with_room(self, load: Callable[[], Any]) -> Any:
        """What `load` gives, if need be once more in the room of models that nobody chats with."""
        try:
            return load()
        except NoMemoryLeftError:
            if not self._unload_unused():
                raise
        return load()  # outside of the handler: the error holds what the first attempt had loaded

    def _unload_unused(self) -> bool:
        """Forgets the models that nobody chats with; whether there were any."""
        with self._lock:
            used = self._in_use()
            unused = [name for name, model in self._models.items() if model.done() and name not in used]
            for name in unused:
                del self._models[name]
        return bool(unused)

    def listing(self, name: str) -> ModelListing:
        """What the page says of the model of this name.

        Raises:
            UnknownModelError: it is not offered; what a browser sends is never taken for a path.
        """
        for listing in self.listings:
            if listing.name == name:
                return listing
        raise UnknownModelError(f"There is no model {name!r}; choose one of {', '.join(self._sources)}.")

    def methods(self, name: str) -> list[tuple[str, str]]:
        """(label, name) of every method for a model; the label says where a method is untrained for it."""
        if name not in self._labels:
            model = self.get(name)
            self._labels[name] = [(get_method(info.name, model).label, info.name) for info in list_methods()]
        return self._labels[name]

    def warm(self, name: str) -> threading.Thread:
        """Starts loading a model in the background, so that the page need not wait for it."""
        thread = threading.Thread(target=self._try, args=(name,), name=f"load-{name}", daemon=True)
        thread.start()
        return thread

    def _try(self, name: str) -> None:
        try:
            self.methods(name)
        except StudioError as error:  # the page raises it again when it is opened, and shows it
            logger.warning("The model %s could not be loaded: %s", name, error)


def _listing(card: ModelCard) -> ModelListing:
    report, load_options = best_load_options(card)
    title, facts = card.title, [f"{card.memory_gb:.3g} GB in 16 bits"]
    if card.four_bit_gb is not None:
        facts.append(f"{card.four_bit_gb:.2g} GB in 4")
    if load_options.get("four_bit"):
        title = f"{card.title}, {card.four_bit_gb:.2g} GB in 4-bit"
    elif card.memory_gb >= 1:
        title = f"{card.title}, {card.memory_gb:.0f} GB"
    text = ", ".join(facts)
    if card.image_tokens:
        text = f"Up to {card.image_tokens:,} image tokens; {text}; licence: {card.licence}"
    return ModelListing(
        card.name,
        title,
        card.description,
        report.fits,
        report.sentence,
        f"{text}.",
        card.notice,
        load_options,
    )


def _local_listing(name: str, directory: Path) -> ModelListing:
    try:
        return _listing(card_of(directory, name))
    except ModelError as error:
        log_cause(f"Reading the config of {name}", error)
        return ModelListing(name, name, "A directory on this machine.", False, str(error))
