"""Whatever happens during an answer, in whatever order messages arrive, the page ends as the server is."""

import asyncio
import random
import time
from contextlib import suppress

import pytest
from gradio.queueing import Queue
from playwright.sync_api import expect

from app.user_session import UserSession
from compressor.chat.prefix_cache import PrefixCache
from tests.browser.looking import until
from tests.browser.walking import SlowedApp, Walker

STEP_S = 0.03
# Undo and Clear are off while an answer is written, but not yet in the moment in which one is asked for.
AT_ONCE = "(button) => { for (const id of ['regenerate', button]) document.getElementById(id).click(); }"
LATE_S = 0.2
CHANGES = ("new_scene", "undo", "model", "clear", "photograph", "method")


@pytest.fixture
def slowed(browser, model, monkeypatch):
    """An app that needs 30 ms for a token, or as long as a test sets `step_s`."""
    step, app = PrefixCache.step, SlowedApp(lambda name, progress: model, browser)
    app.step_s = STEP_S

    def slow(self: PrefixCache) -> int:
        time.sleep(app.step_s)
        return step(self)

    monkeypatch.setattr(PrefixCache, "step", slow)
    yield app
    app.close()


@pytest.fixture
def late_messages(monkeypatch):
    """Messages of different events reach the browser in any order, those of one event in theirs."""
    send, draw, due = Queue.send_message, random.Random(0), {}

    def send_late(self: Queue, event, message) -> None:
        now = asyncio.get_running_loop().time()
        due[event._id] = max(due.get(event._id, 0) + 0.001, now + draw.uniform(0, LATE_S))
        asyncio.get_running_loop().call_at(due[event._id], send, self, event, message)

    monkeypatch.setattr(Queue, "send_message", send_late)


def begin_an_answer(walker: Walker, user: UserSession) -> None:
    """Asks until an answer is written: Gradio drops a click while the stream of the last answer closes."""
    before = len(user.chat.turns)
    walker.type("how many cats are there")
    while user.running is None and len(user.chat.turns) == before:
        if walker.page.locator("#ask").is_enabled():
            walker.click("#ask")
        with suppress(AssertionError):
            until(walker.page, lambda: user.running is not None or len(user.chat.turns) > before, 2)


def repeat_changes_during_answers(slowed: SlowedApp, request, times: int) -> None:
    page, draw = slowed.open(), random.Random(request.config.getoption("walk_seed"))
    walker, user = Walker(page, draw), slowed.users[page]
    for count in range(times):
        change = CHANGES[count % len(CHANGES)]
        begin_an_answer(walker, user)
        page.wait_for_timeout(draw.uniform(0, 150))
        if change in ("undo", "clear"):
            user.chat.stop()
            until(page, lambda: user.running is None)
            expect(page.locator(f"#{change}")).to_be_enabled(timeout=15_000)
            page.evaluate(AT_ONCE, change)
        else:
            walker.actions[change]()
        slowed.agrees(page)


def test_a_change_during_an_answer_ends_in_the_state_of_the_server(slowed, request):
    repeat_changes_during_answers(slowed, request, request.config.getoption("overtakings"))


def test_messages_in_any_order_end_in_the_state_of_the_server(late_messages, slowed, request):
    """With every message held back at random, the order is wrong so often that fewer changes do."""
    repeat_changes_during_answers(slowed, request, max(1, request.config.getoption("overtakings") // 3))


def test_enter_during_an_answer_shows_the_answer_that_runs(slowed):
    slowed.step_s = 0.5  # it is still being written after all that follows, on a busy machine too
    page = slowed.open()
    walker = Walker(page, random.Random(0))
    walker.type("how many cats are there")
    page.locator("#ask").click()
    expect(page.locator("#stop")).to_be_enabled()
    walker.type("is it red")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#chat-notice")).to_contain_text("still being written")
    assert slowed.users[page].running is not None
    expect(page.locator("#chat .user .say")).to_have_text("how many cats are there")
    expect(page.locator("#stop")).to_be_enabled()
    expect(page.locator("#ask")).to_be_disabled()
    expect(page.locator("#question textarea")).to_have_value("is it red")
    page.locator("#stop").click()
    slowed.agrees(page)


def test_two_tabs_of_a_restless_visitor_end_in_the_state_of_the_server(slowed, request, walk_seed, caplog):
    draw = random.Random(walk_seed)
    pages = [slowed.open(), slowed.open()]
    walkers = [Walker(page, draw) for page in pages]
    names = []
    for _ in range(request.config.getoption("walk_actions")):
        names.append(draw.choice(walkers).step())
        pages[0].wait_for_timeout(draw.uniform(0, 200))
    pages[0].wait_for_timeout(1_000)  # for what the last action has set going
    for page in pages:
        slowed.agrees(page)
    assert [record.exc_text for record in caplog.records if record.levelname == "ERROR"] == []
    print(f"seed {walk_seed}: {len(names)} actions of {len(set(names))} kinds, both tabs as the server is")
