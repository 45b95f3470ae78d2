"""Who is chatting: a bounded store of visits, each with its own lock.

The page holds only the key of a visit; picture and chat stay here, in memory, until the page has been closed
or idle for a while, or newer visitors need the room.
"""

import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from app import settings
from compressor import ChatSession, Projection
from compressor.errors import ServerFullError, UnknownVisitError, VisitError
from compressor.geometry import PART_SEPARATOR, ROW_SEPARATOR
from compressor.world.scenes import Scene

PARTS = ("picture", "choices", "chat", "projection")  # of the page: each is sent as a whole, with its version
_versions = itertools.count(1)  # of all visits, so that a version is never one of another visit

# Why a visit is no longer in the store, as its page says it.
_EXPIRED = "This chat was removed because nothing was done in it for {idle:.0f} minutes; start again here."
_CLOSED = (
    "This chat was removed because its page was closed or cut off for {closed:.0f} minutes; start again here."
)
_DISPLACED = (
    "This chat was removed because the server was full and nothing had been done here for a while; "
    "start again here."
)
_UNKNOWN = "The server has no chat for this page, for example because it was restarted; start again here."
FULL = "All places of this server are in use; wait a few minutes and try again."
_REASONS_KEPT = 1000  # of removed visits


@dataclass(frozen=True)
class Running:
    """An answer that is being written, `text` of it so far; it follows the first `kept` turns."""

    question: str
    kept: int
    text: str = ""


@dataclass
class Visit:
    """One visitor: the picture, the chat about it, and what was chosen.

    `scene` is set when the picture was generated, so that true answers are known; `photograph` is the title
    of a bundled picture. `settings_of_turns` says
    for each turn of the chat under which method, rate and m it was answered. `wanted` is a model that was
    chosen and is still to be loaded; `problem` is what went wrong in the last change. `separators` is the
    option of `get_method`, `shown` are those of `VisionLanguageModel.variant`, of all families.

    `running` is the answer that is being written, `chat_notice` the line under the chat, as HTML. `decided`
    is the P that the last answer was read by, where the language model decides it. `versions` has for each of `PARTS` a number that grows with every change of what the page shows there.

    `busy` is held while the chat changes, or an answer is written; `lock` while anything changes but the
    answer, and while a view is made of what there is.
    """

    image: Image.Image | None = None
    scene: Scene | None = None
    photograph: str | None = None
    chat: ChatSession | None = None
    model: str = settings.FIRST_MODEL
    wanted: str | None = None
    problem: str = ""
    method: str = settings.FIRST_METHOD
    rate: float = settings.FIRST_RATE / 100
    separators: str = "compress"
    shown: dict[str, bool | int] = field(default_factory=dict)
    settings_of_turns: list[tuple[Any, str]] = field(default_factory=list)
    running: Running | None = None
    chat_notice: str = ""
    decided: Projection | None = None
    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    busy: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _changes: deque[object] = field(default_factory=deque)  # under way, in the order of their arrival
    _next: threading.Condition = field(default_factory=threading.Condition)

    def touch(self, *parts: str) -> None:
        """Gives parts of the page a new version, because what they show has changed."""
        with self.lock:
            self.versions |= dict.fromkeys(parts, next(_versions))

    @property
    def source(self) -> str:
        """Where the picture comes from, as `restart.resume` reads it; empty without a picture."""
        if self.scene is not None:
            return f"scene:{self.scene.seed}"
        if self.image is None:
            return ""
        return "upload" if self.photograph is None else f"photograph:{self.photograph}"

    @property
    def has_separators(self) -> bool:
        """Whether some of the picture's tokens only end a row or part two views."""
        if self.chat is None:
            return False
        return bool(np.isin(self.chat.tokens.layout.kinds, (ROW_SEPARATOR, PART_SEPARATOR)).any())

    @property
    def reinserts_separators(self) -> bool:
        """Whether the method compresses patches alone and separators come back as they are."""
        if self.separators == "compress" or not self.has_separators:
            return False
        return self.chat.method.stage == "embedding" and self.chat.method.name != "none"

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Makes changes wait for those that came before them, so that the last one wins."""
        change = object()
        with self._next:
            self._changes.append(change)
            self._next.wait_for(lambda: self._changes[0] is change)
        try:
            yield
        finally:
            with self._next:
                self._changes.popleft()
                self._next.notify_all()

    @contextmanager
    def interrupting(self, timeout_s: float = 30.0) -> Iterator[None]:
        """Stops a running answer and holds the visit.

        Raises:
            VisitError: the answer did not come to its next token within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not self.busy.acquire(timeout=0.05):
            chat = self.chat  # None while the first chat is being started by another change
            if chat is not None:
                chat.stop()
            if time.monotonic() > deadline:
                raise VisitError("The running answer could not be stopped yet; wait a moment and try again.")
        try:
            with self.lock:
                yield
        finally:
            self.busy.release()


@dataclass
class _Place:
    """A visit in the store.

    `page` names the page it belongs to, `used_at` is the time of its last use, `closed_at` that of the end of
    its page; `released` says that what can be computed again has been freed since then.
    """

    visit: Visit
    page: str | None
    used_at: float
    closed_at: float | None = None
    released: bool = False


class VisitStore:
    """Visits by key, at most `capacity` of them, each removed in time by `sweep`.

    Args:
        capacity: how many visits there are at most.
        idle_s: seconds without use after which a visit is removed.
        active_s: seconds without use during which a visit is never removed to make room.
        closed_s: seconds after the end of its page at which a visit is removed.
        clock: the present time in seconds.
    """

    def __init__(
        self,
        capacity: int = settings.MAX_VISITS,
        idle_s: float = settings.IDLE_S,
        active_s: float = settings.ACTIVE_S,
        closed_s: float = settings.CLOSED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity, self._idle_s, self._active_s, self._closed_s = capacity, idle_s, active_s, closed_s
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._reasons: dict[str, str] = {}  # of removed visits, the latest last
        self._removed_pages: set[str] = set()
        self._lock = threading.Lock()

    def open(self, page: str | None = None) -> str:
        """Starts a visit and returns its key; a page has one visit, so an earlier one of it is removed.

        Args:
            page: names the page to `close`.

        Raises:
            ServerFullError: every place belongs to an active visitor.
        """
        key = secrets.token_urlsafe(16)
        with self._lock:
            for earlier in [key for key, place in self._places.items() if page and place.page == page]:
                self._remove(earlier, _UNKNOWN)
            self._make_room()
            self._places[key] = _Place(Visit(), page, self._clock())
        return key

    def get(self, key: str | None) -> Visit:
        """The visit of `key`, now used, and no longer counted as closed.

        Raises:
            UnknownVisitError: there is no such visit (any more); the message says why.
        """
        with self._lock:
            place = self._places.get(key)
            if place is None:
                reason = self._reasons.get(key, _UNKNOWN)
                raise UnknownVisitError(
                    reason.format(idle=self._idle_s / 60, closed=self._closed_s / 60),
                )
            place.used_at, place.closed_at, place.released = self._clock(), None, False
        return place.visit

    def close(self, page: str | None) -> None:
        """Marks the visit of a closed page: its answer stops, its caches are freed, it makes room first.

        The page may come back (a phone that sleeps cuts its connection), so the visit stays for a while.
        """
        with self._lock:
            for place in [place for place in self._places.values() if page and place.page == page]:
                place.closed_at = self._clock()
                place.released = _release(place.visit)

    def sweep(self) -> set[str]:
        """Removes expired visits and frees what closed ones can compute again, if an answer held it at first.

        Returns:
            the pages that have lost their visit since the last sweep.
        """
        with self._lock:
            self._expire()
            for place in self._places.values():
                if place.closed_at is not None and not place.released:
                    place.released = _release(place.visit)
            pages = self._removed_pages - {place.page for place in self._places.values()}
            self._removed_pages = set()
        return pages

    def models(self) -> set[str]:
        """Names of the models that visitors chat with."""
        with self._lock:
            return {place.visit.model for place in self._places.values()}

    def __len__(self) -> int:
        return len(self._places)

    def _expire(self) -> None:
        """Removes what has been idle or closed for too long; a visit being answered is in use."""
        now = self._clock()
        for key, place in list(self._places.items()):
            if place.closed_at is not None:
                if now - place.closed_at >= self._closed_s:
                    self._remove(key, _CLOSED)
            elif place.visit.busy.locked():
                place.used_at = now
            elif now - place.used_at >= self._idle_s:
                self._remove(key, _EXPIRED)

    def _make_room(self) -> None:
        """Removes one visit if the store is full: the first closed, or else the longest unused idle one."""
        self._expire()
        if len(self._places) < self._capacity:
            return
        now = self._clock()
        closed = {key: place.closed_at for key, place in self._places.items() if place.closed_at is not None}
        idle = {
            key: place.used_at
            for key, place in self._places.items()
            if now - place.used_at >= self._active_s and not place.visit.busy.locked()
        }
        candidates = closed or idle
        if not candidates:
            raise ServerFullError(FULL)
        self._remove(min(candidates, key=candidates.get), _DISPLACED)

    def _remove(self, key: str, reason: str) -> None:
        place = self._places.pop(key)
        _stop(place.visit)
        if place.page:
            self._removed_pages.add(place.page)
        self._reasons[key] = reason
        while len(self._reasons) > _REASONS_KEPT:
            del self._reasons[next(iter(self._reasons))]


def _stop(visit: Visit) -> None:
    if visit.chat is not None:
        visit.chat.stop()


def _release(visit: Visit) -> bool:
    """Frees what a chat can compute again; where an answer holds the visit, stops it and returns False."""
    if not visit.busy.acquire(blocking=False):
        _stop(visit)
        return False
    try:
        if visit.chat is not None:
            visit.chat.release()
    finally:
        visit.busy.release()
    return True
