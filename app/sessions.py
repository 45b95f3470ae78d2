"""Who is chatting: a bounded store of visits, each with its own lock.

The page holds only the key of a visit; picture and chat stay here, in memory, until the visitor leaves, rests
too long, or newer visitors need the room.
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
from compressor.errors import VisitError
from compressor.geometry import PART_SEPARATOR, ROW_SEPARATOR
from compressor.world.scenes import Scene

PARTS = ("picture", "choices", "chat", "projection")  # of the page: each is sent as a whole, with its version
_versions = itertools.count(1)  # of all visits, so that a version is never one of another visit


@dataclass(frozen=True)
class Running:
    """An answer that is being written, `text` of it so far; it follows the first `kept` turns."""

    question: str
    kept: int
    text: str = ""


@dataclass
class Visit:
    """One visitor: the picture, the chat about it, and what was chosen.

    `scene` is set when the picture was generated, so that true answers are known. `settings_of_turns` says
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


class VisitStore:
    """Visits by key, at most `capacity` of them, none idle for longer than `idle_s` seconds."""

    def __init__(
        self,
        capacity: int = settings.MAX_VISITS,
        idle_s: float = settings.IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._idle_s = idle_s
        self._clock = clock
        self._visits: dict[str, Visit] = {}  # the longest unused first
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()

    def open(self) -> str:
        """Makes room, starts a visit and returns its key."""
        key = secrets.token_urlsafe(16)
        with self._lock:
            self._evict()
            self._visits[key] = Visit()
            self._used[key] = self._clock()
        return key

    def get(self, key: str | None) -> Visit:
        """The visit of `key`, now the most recently used.

        Raises:
            VisitError: there is no such visit (any more).
        """
        with self._lock:
            visit = self._visits.pop(key, None)
            if visit is None:
                raise VisitError(
                    "This chat was put away because it rested too long; reload the page to start a new one."
                )
            self._visits[key] = visit
            self._used[key] = self._clock()
        return visit

    def close(self, key: str | None) -> None:
        """Forgets a visit; stops its answer if one is running."""
        with self._lock:
            visit = self._visits.pop(key, None)
            self._used.pop(key, None)
        if visit is not None and visit.chat is not None:
            visit.chat.stop()

    def models(self) -> set[str]:
        """Names of the models that visitors chat with."""
        with self._lock:
            return {visit.model for visit in self._visits.values()}

    def __len__(self) -> int:
        return len(self._visits)

    def _evict(self) -> None:
        """Drops idle visits, then the longest unused until one fits; a visit that is being answered stays."""
        now = self._clock()
        for key in list(self._visits):
            full = len(self._visits) >= self._capacity
            idle = now - self._used[key] > self._idle_s
            if (full or idle) and not self._visits[key].busy.locked():
                del self._visits[key], self._used[key]
