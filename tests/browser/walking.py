"""A visitor who does things at random, and an app whose answers take their time."""

import random
import time
from collections.abc import Callable
from contextlib import suppress

from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as BrowserError

from app.model_pool import ModelPool
from app.page.theme import STYLE_SHEET, studio_theme
from app.page.wiring import build
from app.session_store import SessionStore
from app.user_session import UserSession
from tests.browser.comparing import differences, page_state, server_state
from tests.browser.conftest import free_port
from tests.browser.looking import until

QUESTIONS = ("how many cats are there", "what color is the dog", "is it red", "  ")
PATIENCE_MS = 10_000


class SlowedApp:
    """The page in this very process, so that what it shows can be compared with what the server has.

    Args:
        load: as `ModelPool` takes it.
    """

    def __init__(self, load: Callable, browser: Browser) -> None:
        self.pool, self.store, self.port = ModelPool(load), SessionStore(), free_port()
        self.demo = build(self.pool, self.store)
        self.demo.launch(
            server_port=self.port,
            theme=studio_theme(),
            css_paths=[STYLE_SHEET],
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
        )
        self.context = browser.new_context(viewport={"width": 1440, "height": 1000})
        self.users: dict[Page, UserSession] = {}
        self.failures: list[str] = []

    def open(self) -> Page:
        """A tab of its own."""
        before, page = set(self.store._places), self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: self.failures.append(str(error)))
        page.on(
            "console",
            lambda message: self.failures.append(message.text) if message.type == "error" else None,
        )
        page.goto(f"http://127.0.0.1:{self.port}")
        page.wait_for_selector(".js-plotly-plot")
        (key,) = set(self.store._places) - before
        self.users[page] = self.store.get(key)
        return page

    def agrees(self, page: Page, limit_s: float = 20.0) -> None:
        """Waits until no answer runs and the page shows the state of the server, and goes on showing it."""
        user = self.users[page]
        until(page, lambda: not user.busy.locked(), limit_s)
        deadline = time.monotonic() + limit_s
        settled, drawn, right = 0, None, {}
        while settled < 3:  # a message that is late must not spoil it either
            shown, present = page_state(page), dict(user.versions)
            if (shown["drawing"], present) != drawn:  # drawing takes longer than looking
                drawn, right = (shown["drawing"], present), server_state(user, self.pool, shown["drawing"])
            found = differences(shown, right)
            settled = 0 if found else settled + 1
            assert time.monotonic() < deadline, f"the page differs from the server: {found}"
            page.wait_for_timeout(100)
        assert self.failures == []

    def close(self) -> None:
        self.context.close()
        self.demo.close()


class Walker:
    """Does one thing after another in a tab, whatever the page is doing."""

    def __init__(self, page: Page, draw: random.Random) -> None:
        self.page, self.draw = page, draw
        self.actions = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def step(self) -> str:
        """One action at random that the page allows; returns its name."""
        while True:
            name = self.draw.choice(sorted(self.actions))
            with suppress(BrowserError):  # a button may be off, or go off under the hand
                self.actions[name]()
                return name

    def click(self, place: str) -> None:
        """Presses a button, which may have to come on within a moment."""
        button = self.page.locator(place)
        if not button.is_enabled(timeout=1_000):
            raise BrowserError(f"{place} is off")
        button.click(timeout=PATIENCE_MS)

    def choose(self, box: str) -> None:
        self.page.locator(f"#{box} input").click(timeout=PATIENCE_MS)
        entries = self.page.get_by_role("option")
        entries.nth(self.draw.randrange(entries.count())).click(timeout=PATIENCE_MS)

    def type(self, question: str) -> None:
        self.page.locator("#question textarea").fill(question, timeout=PATIENCE_MS)

    def _do_ask(self) -> None:
        self.type(self.draw.choice(QUESTIONS))
        self.click("#ask")

    def _do_ask_by_enter(self) -> None:
        self.type(self.draw.choice(QUESTIONS))
        self.page.locator("#question textarea").press("Enter", timeout=PATIENCE_MS)

    def _do_take_a_suggestion(self) -> None:
        self.click(f"button.suggestion >> nth={self.draw.randrange(4)}")

    def _do_regenerate(self) -> None:
        self.click("#regenerate")

    def _do_stop(self) -> None:
        self.click("#stop")

    def _do_undo(self) -> None:
        self.click("#undo")

    def _do_clear(self) -> None:
        self.click("#clear")

    def _do_new_scene(self) -> None:
        self.click("#new-scene")

    def _do_photograph(self) -> None:
        self.page.locator("button.photograph").nth(self.draw.randrange(3)).click(timeout=PATIENCE_MS)

    def _do_remove_the_picture(self) -> None:
        self.click("#picture [aria-label='Remove Image']")

    def _do_upload_no_picture(self) -> None:
        file = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
        self.page.locator("#picture input[type=file]").set_input_files(file, timeout=PATIENCE_MS)

    def _do_method(self) -> None:
        self.choose("method")

    def _do_model(self) -> None:
        self.page.locator("#model input").click(timeout=PATIENCE_MS)
        self.page.get_by_role("option").nth(self.draw.randrange(2)).click(timeout=PATIENCE_MS)

    def _do_rate(self) -> None:
        slider = self.page.locator("#rate input[type=range]")
        for _ in range(self.draw.randrange(1, 6)):
            slider.press(self.draw.choice(("ArrowLeft", "ArrowRight")), timeout=PATIENCE_MS)

    def _do_redraw(self) -> None:
        place = self.draw.choice(("colour", "layout", "shade"))
        self.page.locator(f"#{place} label").nth(self.draw.randrange(2)).click(timeout=PATIENCE_MS)
