"""The store of visits: bounded, evicting, and never in the way of an answer."""

import pytest

from app import chat
from app.sessions import VisitStore
from compressor.errors import VisitError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_visit_is_found_by_its_key_only():
    store = VisitStore()
    first, second = store.open(), store.open()
    assert first != second and store.get(first) is store.get(first) is not store.get(second)
    for key in ("", None, "guess", first[:-1]):
        with pytest.raises(VisitError, match="reload"):
            store.get(key)


def test_a_full_store_drops_the_longest_unused():
    store = VisitStore(capacity=3)
    keys = [store.open() for _ in range(3)]
    store.get(keys[0])
    store.open()
    assert len(store) == 3
    store.get(keys[0])
    store.get(keys[2])
    with pytest.raises(VisitError):
        store.get(keys[1])


def test_idle_visits_go_when_the_next_one_comes():
    clock = Clock()
    store = VisitStore(idle_s=60, clock=clock)
    old, young = store.open(), store.open()
    clock.now = 50
    store.get(young)
    clock.now = 70
    store.open()
    store.get(young)
    with pytest.raises(VisitError):
        store.get(old)


def test_a_visit_being_answered_stays():
    store = VisitStore(capacity=2)
    busy, other = store.open(), store.open()
    with store.get(busy).busy:
        store.get(other)
        store.open()
        assert store.get(busy) is not None
        with pytest.raises(VisitError):
            store.get(other)


def test_closing_a_visit_stops_its_answer(visit):
    store = VisitStore()
    key = store.open()
    store.get(key).chat = visit.chat
    answering = chat.ask(visit, "how many cats are there", max_new_tokens=200)
    next(answering)
    store.close(key)
    list(answering)
    assert visit.chat.turns[-1].stopped and len(store) == 0
    store.close(key)  # once more does no harm


def test_a_visit_that_stays_busy_is_reported():
    store = VisitStore()
    visit = store.get(store.open())
    visit.chat = type("Deaf", (), {"stop": lambda self: None})()
    with visit.busy, pytest.raises(VisitError, match="try again"), visit.interrupting(timeout_s=0.1):
        pytest.fail("the visit was not free")


def test_the_store_knows_which_models_are_chatted_with():
    store = VisitStore()
    assert store.models() == set()
    keys = [store.open() for _ in range(2)]
    store.get(keys[1]).model = "llava-1.5-7b"
    assert store.models() == {"tiny", "llava-1.5-7b"}
    store.close(keys[1])
    assert store.models() == {"tiny"}
