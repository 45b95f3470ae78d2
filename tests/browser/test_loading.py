"""A model that takes its time: the page says how far it is, and the chat with the present one goes on."""

import re
import threading

import pytest
from playwright.sync_api import Browser, Page, expect

from app.model_pool import ModelPool
from app.page.theme import STYLE_SHEET, studio_theme
from app.page.wiring import build
from app.session_store import SessionStore
from tests.browser.conftest import free_port
from tests.browser.looking import shown, until


class SlowLoad:
    """Gives one model for every name; for all but the first a test says how far it is, and when it ends."""

    def __init__(self, model):
        self.model, self.tell, self.go_on = model, None, threading.Event()

    def __call__(self, name, progress):
        if name != "tiny":
            self.tell = progress
            progress(0.25, "Downloading it: 3.5 of 14.1 GB")
            self.go_on.wait(60)
        return self.model


@pytest.fixture
def slow(model):
    return SlowLoad(model)


@pytest.fixture
def visitor(browser: Browser, slow):
    """A page of an app that loads slowly, in this very process."""
    demo, port = build(ModelPool(slow), SessionStore()), free_port()
    demo.launch(
        server_port=port,
        theme=studio_theme(),
        css_paths=[STYLE_SHEET],
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
    )
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}")
    page.wait_for_selector(".js-plotly-plot")
    yield page
    slow.go_on.set()
    context.close()
    demo.close()


def test_a_download_shows_and_the_chat_goes_on(visitor: Page, slow):
    page = visitor
    picture = shown(page, "#picture")
    page.locator("#model input").click()
    page.get_by_role("option", name=re.compile("LLaVA-1.5 7B")).click()
    notice, bar = page.locator("#picture-notice .notice"), page.locator("#picture-notice progress")
    expect(notice).to_contain_text("3.5 of 14.1 GB")
    expect(bar).to_have_js_property("value", 0.25)
    slow.tell(0.5, "Downloading it: 7.0 of 14.1 GB")
    expect(notice).to_contain_text("7.0 of 14.1 GB")
    expect(bar).to_have_js_property("value", 0.5)
    page.locator("#question textarea").fill("how many cats are there")
    page.locator("#ask").click()
    expect(page.locator("#cost tbody tr")).to_have_count(1)
    expect(page.locator("#ask")).to_have_text("Ask")
    expect(page.locator("#method input")).not_to_have_value("")
    until(page, lambda: shown(page, "#picture") == picture)
    slow.go_on.set()
    expect(notice).to_have_count(0)
    expect(page.locator("#model input")).to_have_value(re.compile("LLaVA-1.5 7B"))
    expect(page.locator("#cost tbody tr")).to_have_count(0)
    until(page, lambda: shown(page, "#picture") == picture)
