"""A task that is repeated in the background while there is something to do."""

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Sweeper:
    """Calls a task every few seconds, in a thread that `start` begins and the task ends.

    Args:
        task: does the work and returns whether there is more to come.
        every_s: seconds between two calls.
    """

    def __init__(self, task: Callable[[], bool], every_s: float) -> None:
        self._task, self._every_s = task, every_s
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begins to call the task, unless that goes on already."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(self._every_s)
            with self._lock:
                try:
                    goes_on = self._task()
                except Exception:  # noqa: BLE001 - logged; one failed call must not end the removal of everything later
                    _log.exception("A sweep failed; the next one follows.")
                    goes_on = True
                if not goes_on:
                    self._thread = None
                    return
