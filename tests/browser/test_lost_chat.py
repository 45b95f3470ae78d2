"""A page whose chat the server no longer has says why, and goes on with its own settings."""

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from app.model_pool import ModelPool
from app.page.lifetime import _sweep
from app.page.theme import STYLE_SHEET, studio_theme
from app.page.wiring import build
from app.session_store import SessionStore
from tests.browser.conftest import free_port
from tests.browser.looking import shown, until

MINUTE = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return SessionStore(capacity=2, clock=clock)


@pytest.fixture
def demo(model, store):
    """The page with a store whose time the test sets, in this very process."""
    demo = build(ModelPool(lambda name, progress: model), store)
    demo.launch(
        server_port=free_port(),
        theme=studio_theme(),
        css_paths=[STYLE_SHEET],
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
    )
    yield demo
    demo.close()


@pytest.fixture
def failures():
    return []


@pytest.fixture
def new_page(browser: Browser, demo, failures):
    """Opens a page in a tab of its own; script errors of all pages are collected."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})

    def open_page(has_place: bool = True) -> Page:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(demo.local_url)
        page.wait_for_selector(".js-plotly-plot" if has_place else "#loss")
        return page

    yield open_page
    context.close()
    assert failures == []


def ask(page: Page, question: str) -> None:
    page.locator("#question textarea").fill(question)
    page.locator("#ask").click()


def choose_method(page: Page, title: str) -> None:
    page.locator("#method input").click()
    page.get_by_role("option", name=re.compile(title)).click()
    expect(page.locator("#method input")).to_have_value(re.compile(title))


def set_rate(page: Page, percent: int) -> None:
    slider = page.locator("#rate input[type=range]")
    slider.focus()
    while (now := int(float(slider.input_value()))) != percent:
        slider.press("ArrowLeft" if now > percent else "ArrowRight")
    expect(page.locator("#rate-line b")).to_have_text(f"16 → {round(16 * (1 - percent / 100))}")


def test_an_expired_chat_starts_again_with_its_settings(new_page, store, clock):
    page = new_page()
    choose_method(page, "DivPrune")
    set_rate(page, 75)
    picture = shown(page, "#picture")
    clock.now = 31 * MINUTE
    store.sweep()
    ask(page, "how many cats are there")
    expect(page.locator("#loss .notice")).to_contain_text("nothing was done in it for 30 minutes")
    expect(page.locator(".toast-body")).to_have_count(0)  # one place says it
    expect(page.locator("#again")).to_have_text("Start again (same picture and settings)")
    page.locator("#again").click()
    expect(page.locator("#loss")).not_to_be_visible()
    until(page, lambda: len(store) == 1)
    expect(page.locator("#rate-line b")).to_have_text("16 → 4")
    expect(page.locator("#method input")).to_have_value(re.compile("DivPrune"))
    until(page, lambda: shown(page, "#picture") == picture)
    expect(page.locator("#question textarea")).to_have_value("how many cats are there")
    page.locator("#ask").click()
    expect(page.locator("#cost tbody tr")).to_have_count(1)
    expect(page.locator("#chat .setting")).to_contain_text("75%")


def test_a_restarted_server_starts_again_with_the_photograph(new_page, store, demo):
    page = new_page()
    before = shown(page, "#picture")
    page.locator("button.photograph").first.click()
    until(page, lambda: shown(page, "#picture") != before)
    photograph = shown(page, "#picture")
    store._places.clear()  # what a new process has of this page: nothing
    demo.state_holder.session_data.clear()
    page.locator("#layout label").nth(1).click()
    expect(page.locator("#loss .notice")).to_contain_text("for example because it was restarted")
    page.locator("#again").click()
    expect(page.locator("#loss")).not_to_be_visible()
    until(page, lambda: len(store) == 1 and next(iter(store._places.values())).user.photograph == "Cat")
    until(page, lambda: shown(page, "#picture") == photograph)
    ask(page, "how many cats are there")
    expect(page.locator("#cost tbody tr")).to_have_count(1)


def test_a_full_server_turns_a_page_away_until_a_tab_is_closed(new_page, store, clock):
    first, _second = new_page(), new_page()
    third = new_page(has_place=False)
    expect(third.locator("#loss .notice")).to_contain_text("All places of this server are in use")
    third.locator("#again").click()
    expect(third.locator("#again")).to_have_text("Try again")
    expect(third.locator("#loss .notice")).to_contain_text("All places of this server are in use")
    first.close()
    until(third, lambda: any(place.closed_at is not None for place in store._places.values()))
    third.locator("#again").click()
    expect(third.locator("#loss")).not_to_be_visible()
    third.wait_for_selector(".js-plotly-plot")
    ask(third, "how many cats are there")
    expect(third.locator("#cost tbody tr")).to_have_count(1)


def test_closing_a_tab_stops_its_answer_and_removes_all_of_it(new_page, store, clock, demo, monkeypatch):
    other, page = new_page(), new_page()
    (user,) = (place.user for place in list(store._places.values())[1:])
    step = type(user.chat.prefix_cache).step

    def slow_step(reading):
        time.sleep(0.1)
        return step(reading)

    monkeypatch.setattr(type(user.chat.prefix_cache), "step", slow_step)
    ask(page, "how many cats are there")
    until(other, user.busy.locked)
    (closed,) = (place.page for place in list(store._places.values())[1:])
    assert closed in demo.state_holder.session_data
    page.close()
    until(other, lambda: not user.busy.locked())
    assert user.chat.turns[0].stopped
    until(other, lambda: store.sweep() == set() and user.chat.prefix_cache.ids == [])
    assert len(store) == 2
    clock.now = 6 * MINUTE
    other.locator("#layout label").nth(1).click()
    until(other, lambda: all(place.used_at > 0 for place in list(store._places.values())[:1]))
    _sweep(demo, store)
    assert len(store) == 1 and closed not in demo.state_holder.session_data
    monkeypatch.undo()
    ask(other, "how many cats are there")
    expect(other.locator("#cost tbody tr")).to_have_count(1)
