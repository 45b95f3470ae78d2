"""One visitor: changes wait for each other, and the page can tell what has changed."""

import threading
import time

import pytest

from app.handlers import chat, choices
from app.user_session import PARTS, Visit


def in_thread(call, *arguments) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def test_two_changes_before_the_first_chat_and_the_second_wins(shelf):
    visit, failed = Visit(), []

    def change(seed: int) -> None:
        try:
            with visit.in_turn():
                choices.new_scene(visit, shelf, seed)
        except Exception as error:
            failed.append(error)

    with shelf.computing:
        first = in_thread(change, 1)
        while not visit.busy.locked():
            time.sleep(0.001)
        second = in_thread(choices.new_scene, visit, shelf, 2)
        time.sleep(0.2)
        assert visit.chat is None and second.is_alive()
    for thread in (first, second):
        thread.join(20)
    assert failed == [] and visit.scene.seed == 2 and visit.chat is not None


def test_changes_are_made_in_the_order_in_which_they_came():
    visit, made = Visit(), []

    def change(number: int) -> None:
        with visit.in_turn():
            made.append(number)

    with visit.in_turn():
        threads = []
        for number in range(8):
            threads.append(in_thread(change, number))
            while len(visit._changes) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(20)
    assert made == list(range(8))


def test_a_change_that_fails_lets_the_next_one_in():
    visit = Visit()
    with pytest.raises(ZeroDivisionError), visit.in_turn():
        1 / 0  # noqa: B018
    with visit.in_turn():
        pass


def test_versions_grow_and_differ_between_visits():
    first, second = Visit(), Visit()
    first.touch("chat")
    before = dict(first.versions)
    second.touch(*PARTS)
    first.touch("chat", "picture")
    assert first.versions["chat"] > second.versions["chat"] > before["chat"]
    assert first.versions["choices"] == before["choices"]


def test_an_answer_changes_the_version_at_its_start_and_at_its_end(visit):
    versions = [visit.versions["chat"]]
    views = [view.version for view in chat.ask(visit, "how many cats are there", max_new_tokens=8)]
    assert versions[0] < views[0] == views[-2] < views[-1] == visit.versions["chat"]


def test_a_reset_keeps_who_waits_and_gives_every_part_a_new_version(visit):
    busy, before = visit.busy, dict(visit.versions)
    with visit.in_turn():
        visit.reset()
    assert visit.chat is None and visit.image is None and visit.busy is busy
    assert all(visit.versions[part] > before[part] for part in PARTS)
