"""How the browser tests look at pictures: by a fingerprint, not by a hundred kilobytes of data URI."""

import hashlib
import time
from collections.abc import Callable

from playwright.sync_api import Page


def shown(page: Page, place: str) -> str:
    """A fingerprint of the picture in the component with this selector."""
    source = page.locator(f"{place} img").first.get_attribute("src")
    return fingerprint(source)


def fingerprint(text: str) -> str:
    """Of a long text, a short one."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def until(page: Page, holds: Callable[[], bool], limit_s: float = 15.0) -> None:
    """Waits until something holds, or fails."""
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {limit_s:.0f} s"
        page.wait_for_timeout(50)
