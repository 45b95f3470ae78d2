"""Who is chatting: a bounded store of sessions, each with its own lock.

The page holds only the key of a session; picture and chat stay here, in memory, until the page has been
closed or idle for a while, or newer visitors need the room.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from app import settings
from app.user_session import UserSession
from compressor.errors import ServerFullError, SessionExpiredError

# Why a session is no longer in the store, as its page says it.
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
_REASONS_KEPT = 1000  # of removed sessions


@dataclass
class _Place:
    """A session in the store.

    `page` names the page it belongs to, `used_at` is the time of its last use, `closed_at` that of the end of
    its page; `released` says that what can be computed again has been freed since then.
    """

    user: UserSession
    page: str | None
    used_at: float
    closed_at: float | None = None
    released: bool = False


class SessionStore:
    """Sessions by key, at most `capacity` of them, each removed in time by `sweep`.

    Args:
        capacity: how many sessions there are at most.
        idle_s: seconds without use after which a session is removed.
        active_s: seconds without use during which a session is never removed to make room.
        closed_s: seconds after the end of its page at which a session is removed.
        clock: the present time in seconds.
    """

    def __init__(
        self,
        capacity: int = settings.MAX_SESSIONS,
        idle_s: float = settings.IDLE_S,
        active_s: float = settings.ACTIVE_S,
        closed_s: float = settings.CLOSED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity, self._idle_s, self._active_s, self._closed_s = capacity, idle_s, active_s, closed_s
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._reasons: dict[str, str] = {}  # of removed sessions, the latest last
        self._removed_pages: set[str] = set()
        self._lock = threading.Lock()

    def open(self, page: str | None = None) -> str:
        """Starts a session and returns its key; a page has one session, so an earlier one of it is removed.

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
            self._places[key] = _Place(UserSession(), page, self._clock())
        return key

    def get(self, key: str | None) -> UserSession:
        """The session of `key`, now used, and no longer counted as closed.

        Raises:
            SessionExpiredError: there is no such session (any more); the message says why.
        """
        with self._lock:
            place = self._places.get(key or "")
            if place is None:
                reason = self._reasons.get(key or "", _UNKNOWN)
                raise SessionExpiredError(
                    reason.format(idle=self._idle_s / 60, closed=self._closed_s / 60),
                )
            place.used_at, place.closed_at, place.released = self._clock(), None, False
        return place.user

    def close(self, page: str | None) -> None:
        """Marks the session of a closed page: its answer stops, its caches are freed, it makes room first.

        The page may come back (a phone that sleeps cuts its connection), so the session stays for a while.
        """
        with self._lock:
            for place in [place for place in self._places.values() if page and place.page == page]:
                place.closed_at = self._clock()
                place.released = _release(place.user)

    def sweep(self) -> set[str]:
        """Removes expired sessions, and frees what closed ones can compute again.

        Returns:
            the pages that have lost their session since the last sweep.
        """
        with self._lock:
            self._expire()
            for place in self._places.values():
                if place.closed_at is not None and not place.released:
                    place.released = _release(place.user)
            pages = self._removed_pages - {place.page for place in self._places.values()}
            self._removed_pages = set()
        return pages

    def models(self) -> set[str]:
        """Names of the models that visitors chat with."""
        with self._lock:
            return {place.user.model for place in self._places.values()}

    def __len__(self) -> int:
        return len(self._places)

    def _expire(self) -> None:
        """Removes what has been idle or closed for too long; a session being answered is in use."""
        now = self._clock()
        for key, place in list(self._places.items()):
            if place.closed_at is not None:
                if now - place.closed_at >= self._closed_s:
                    self._remove(key, _CLOSED)
            elif place.user.busy.locked():
                place.used_at = now
            elif now - place.used_at >= self._idle_s:
                self._remove(key, _EXPIRED)

    def _make_room(self) -> None:
        """Removes one session if the store is full: the first closed, or else the longest unused idle one."""
        self._expire()
        if len(self._places) < self._capacity:
            return
        now = self._clock()
        closed = {key: place.closed_at for key, place in self._places.items() if place.closed_at is not None}
        idle = {
            key: place.used_at
            for key, place in self._places.items()
            if now - place.used_at >= self._active_s and not place.user.busy.locked()
        }
        candidates = closed or idle
        if not candidates:
            raise ServerFullError(FULL)
        self._remove(min(candidates, key=lambda key: candidates[key]), _DISPLACED)

    def _remove(self, key: str, reason: str) -> None:
        place = self._places.pop(key)
        _stop(place.user)
        if place.page:
            self._removed_pages.add(place.page)
        self._reasons[key] = reason
        while len(self._reasons) > _REASONS_KEPT:
            del self._reasons[next(iter(self._reasons))]


def _stop(user: UserSession) -> None:
    if user.chat is not None:
        user.chat.stop()


def _release(user: UserSession) -> bool:
    """Frees what a chat can compute again; where an answer holds the session, stops it and returns False."""
    if not user.busy.acquire(blocking=False):
        _stop(user)
        return False
    try:
        if user.chat is not None:
            user.chat.release()
    finally:
        user.busy.release()
    return True
