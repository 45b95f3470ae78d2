"""One visitor's picture, chat and choices, and how changes of them wait for each other."""

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from app import settings
from compressor import ChatSession, ChatTurn, Projection
from compressor.errors import UserSessionError
from compressor.geometry import PART_SEPARATOR, ROW_SEPARATOR
from compressor.world.scenes import Scene

PARTS = ("picture", "choices", "chat", "projection")  # of the page: each is sent as a whole, with its version
LASTING = ("versions", "busy", "lock", "_changes", "_next")  # attributes that no reset may replace
_versions = itertools.count(1)  # of all sessions, so that a version is never one of another session


@dataclass(frozen=True)
class Running:
    """An answer that is being written, `text` of it so far; it follows the first `kept` turns."""

    question: str
    kept: int
    text: str = ""


@dataclass
class UserSession:
    """One visitor: the picture, the chat about it, and what was chosen.

    `scene` is set when the picture was generated, so that true answers are known; `photograph` is the title
    of a bundled picture. `settings_of_turns` says for each turn of the chat under which method, rate and m it
    was answered. `pending_model` is a model that was chosen and is still to be loaded; `last_error` is what
    went wrong in the last change. `separators` is the option of `get_method`, `shown` are those of
    `VisionLanguageModel.variant`, of all families.

    `running` is the answer that is being written, `chat_notice` the line under the chat, as HTML. `decided`
    is the P that the last answer was read by, where the language model decides it. `versions` has for each of
    `PARTS` a number that grows with every change of what the page shows there.

    `busy` is held while the chat changes, or an answer is written; `lock` while anything changes but the
    answer, and while a view is made of what there is.
    """

    image: Image.Image | None = None
    scene: Scene | None = None
    photograph: str | None = None
    chat: ChatSession | None = None
    model: str = settings.FIRST_MODEL
    pending_model: str | None = None
    last_error: str = ""
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

    def mark_changed(self, *parts: str) -> None:
        """Gives parts of the page a new version, because what they show has changed."""
        with self.lock:
            self.versions |= dict.fromkeys(parts, next(_versions))

    @property
    def turns(self) -> list[ChatTurn]:
        """Of the chat; empty without one."""
        return [] if self.chat is None else self.chat.turns

    @property
    def source(self) -> str:
        """Where the picture comes from, as `restart.resume` reads it; empty without a picture."""
        if self.scene is not None:
            return f"scene:{self.scene.seed}"
        if self.image is None:
            return ""
        return "upload" if self.photograph is None else f"photograph:{self.photograph}"

    def reset(self) -> None:
        """Makes picture, chat and choices those of a new session."""
        with self.lock:
            new = vars(UserSession())
            vars(self).update({name: value for name, value in new.items() if name not in LASTING})
            self.mark_changed(*PARTS)

    @property
    def has_separators(self) -> bool:
        """Whether some of the picture's tokens only end a row or part two views."""
        if self.chat is None:
            return False
        return bool(np.isin(self.chat.tokens.layout.kinds, (ROW_SEPARATOR, PART_SEPARATOR)).any())

    @property
    def reinserts_separators(self) -> bool:
        """Whether the method compresses patches alone and separators come back as they are."""
        if self.chat is None or self.separators == "compress" or not self.has_separators:
            return False
        return self.chat.method.stage == "embedding" and self.chat.method.name != "none"

    @contextmanager
    def in_order(self) -> Iterator[None]:
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
        """Stops a running answer and holds the session.

        Raises:
            UserSessionError: the answer did not come to its next token within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not self.busy.acquire(timeout=0.05):
            chat = self.chat  # None while the first chat is being started by another change
            if chat is not None:
                chat.stop()
            if time.monotonic() > deadline:
                raise UserSessionError(
                    "The running answer could not be stopped yet; wait a moment and try again."
                )
        try:
            with self.lock:
                yield
        finally:
            self.busy.release()
