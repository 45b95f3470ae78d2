"""The store of user sessions: bounded, never in the way of an answer, and truthful about what it removed."""

import pytest

from app import settings
from app.handlers import chat, choices
from app.session_store import SessionStore
from compressor.errors import ServerFullError, SessionExpiredError, UserSessionError

MINUTE = 60.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def user_of(store, pool, page=None):
    """The key and the user session of a new page that looks at a scene."""
    key = store.open(page)
    choices.new_scene(store.get(key), pool, seed=7)
    return key, store.get(key)


def test_a_visit_is_found_by_its_key_only():
    store = SessionStore()
    first, second = store.open(), store.open()
    assert first != second and store.get(first) is store.get(first) is not store.get(second)
    for key in ("", None, "guess", first[:-1]):
        with pytest.raises(SessionExpiredError, match="no chat for this page"):
            store.get(key)


def test_a_full_store_removes_a_closed_visit_before_an_idle_one(clock):
    store = SessionStore(capacity=3, clock=clock)
    idle, closed, active = store.open(), store.open("tab"), store.open()
    clock.now = 6 * MINUTE
    store.get(closed)
    store.close("tab")
    store.get(active)
    store.open()
    assert len(store) == 3 and store.get(active)
    with pytest.raises(SessionExpiredError, match="server was full"):
        store.get(closed)
    store.get(idle)


def test_a_full_store_removes_the_longest_idle_session(clock):
    store = SessionStore(capacity=3, clock=clock)
    longest, second, third = (store.open() for _ in range(3))
    for minute, key in ((1, third), (2, second)):
        clock.now = minute * MINUTE
        store.get(key)
    clock.now = 10 * MINUTE
    store.open()
    store.get(second)
    store.get(third)
    with pytest.raises(SessionExpiredError, match="server was full"):
        store.get(longest)


def test_a_store_full_of_active_visits_turns_a_new_one_away(clock):
    store = SessionStore(capacity=2, clock=clock)
    keys = [store.open(), store.open()]
    clock.now = 4.9 * MINUTE
    with pytest.raises(ServerFullError, match="All places"):
        store.open()
    for key in keys:
        store.get(key)


def test_a_visit_being_answered_is_active_however_long_it_takes(clock):
    store = SessionStore(capacity=1, clock=clock)
    key = store.open()
    with store.get(key).busy:
        clock.now = 40 * MINUTE
        store.sweep()
        with pytest.raises(ServerFullError):
            store.open()
    clock.now += 4 * MINUTE  # counted from the end of the answer
    with pytest.raises(ServerFullError):
        store.open()
    assert store.get(key) is not None


def test_a_page_has_one_session():
    store = SessionStore(capacity=1)
    first = store.open("tab")
    second = store.open("tab")
    assert len(store) == 1 and store.get(second)
    with pytest.raises(SessionExpiredError):
        store.get(first)
    assert store.sweep() == set()  # the page still has a user session


def test_an_idle_visit_expires_and_its_page_reads_why(clock):
    store = SessionStore(clock=clock)
    old, young = store.open("old"), store.open("young")
    clock.now = 20 * MINUTE
    store.get(young)
    clock.now = 31 * MINUTE
    assert store.sweep() == {"old"} and store.sweep() == set()
    store.get(young)
    with pytest.raises(SessionExpiredError, match="nothing was done in it for 30 minutes"):
        store.get(old)


def test_a_closed_page_stops_its_answer(pool, clock, monkeypatch):
    monkeypatch.setattr(settings, "YIELDS_PER_S", 1e9)  # a view of every token, however fast they come
    store = SessionStore(clock=clock)
    _, user = user_of(store, pool, "tab")
    answering = chat.ask(user, "how many cats are there", max_new_tokens=200)
    next(answering)
    store.close("another")
    for _ in range(3):
        next(answering)
    store.close("tab")
    list(answering)
    assert user.chat.turns[-1].stopped


def test_a_closed_page_frees_what_can_be_computed_again_and_the_chat_goes_on(pool, clock):
    store = SessionStore(clock=clock)
    key, user = user_of(store, pool, "tab")
    list(chat.ask(user, "how many cats are there", max_new_tokens=4))
    before, question = user.chat.turns[-1].answer_ids, "what color is the dog"
    with user.busy:  # a change holds the chat: nothing is freed under it
        store.close("tab")
        store.sweep()
        assert user.chat.prefix_cache.ids
    store.sweep()
    assert (
        user.chat.prefix_cache.ids == []
        and user.chat.compression._tokens is None
        and user.chat.compression._reduced is None
    )
    assert store.get(key) is user
    list(chat.ask(user, question, max_new_tokens=4))
    assert store.sweep() == set() and user.chat.prefix_cache.ids  # the page is there again
    assert [turn.question for turn in user.chat.turns] == ["how many cats are there", question]
    assert user.chat.turns[0].answer_ids == before


def test_a_closed_page_loses_its_visit_after_five_minutes_unless_it_is_used(pool, clock):
    store = SessionStore(clock=clock)
    gone, back = store.open("gone"), store.open("back")
    for page in ("gone", "back"):
        store.close(page)
    clock.now = 4 * MINUTE
    store.sweep()
    store.get(back)
    clock.now = 5 * MINUTE
    assert store.sweep() == {"gone"}
    store.get(back)
    with pytest.raises(SessionExpiredError, match="closed or cut off for 5 minutes"):
        store.get(gone)


def test_the_reasons_of_removed_visits_do_not_pile_up(clock):
    store = SessionStore(clock=clock)
    for _ in range(1100):
        store.open("tab")
    assert len(store) == 1 and len(store._reasons) == 1000


def test_a_visit_that_stays_busy_is_reported():
    store = SessionStore()
    user = store.get(store.open())
    user.chat = type("Deaf", (), {"stop": lambda self: None})()
    with user.busy, pytest.raises(UserSessionError, match="try again"), user.interrupting(timeout_s=0.1):
        pytest.fail("the user session was not free")


def test_the_store_knows_which_models_are_chatted_with(clock):
    store = SessionStore(clock=clock)
    assert store.models() == set()
    keys = [store.open(page) for page in ("first", "second")]
    store.get(keys[1]).model = "llava-1.5-7b"
    assert store.models() == {"tiny", "llava-1.5-7b"}
    store.close("second")
    clock.now = 6 * MINUTE
    store.sweep()
    assert store.models() == {"tiny"}
