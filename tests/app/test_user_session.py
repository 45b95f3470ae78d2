"""One visitor: changes wait for each other, and the page can tell what has changed."""

import threading
import time

import pytest

from app.handlers import chat, choices
from app.user_session import PARTS, UserSession


def in_thread(call, *arguments) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


def test_two_changes_before_the_first_chat_and_the_second_wins(pool):
    user, failed = UserSession(), []

    def change(seed: int) -> None:
        try:
            with user.in_order():
                choices.new_scene(user, pool, seed)
        except Exception as error:  # noqa: BLE001 - the test shows it
            failed.append(error)

    with pool.computing:
        first = in_thread(change, 1)
        while not user.busy.locked():
            time.sleep(0.001)
        second = in_thread(choices.new_scene, user, pool, 2)
        time.sleep(0.2)
        assert user.chat is None and second.is_alive()
    for thread in (first, second):
        thread.join(20)
    assert failed == [] and user.scene.seed == 2 and user.chat is not None


def test_changes_are_made_in_the_order_in_which_they_came():
    user, made = UserSession(), []

    def change(number: int) -> None:
        with user.in_order():
            made.append(number)

    with user.in_order():
        threads = []
        for number in range(8):
            threads.append(in_thread(change, number))
            while len(user._changes) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(20)
    assert made == list(range(8))


def test_a_change_that_fails_lets_the_next_one_in():
    user = UserSession()
    with pytest.raises(ZeroDivisionError), user.in_order():
        1 / 0  # noqa: B018
    with user.in_order():
        pass


def test_versions_grow_and_differ_between_session():
    first, second = UserSession(), UserSession()
    first.mark_changed("chat")
    before = dict(first.versions)
    second.mark_changed(*PARTS)
    first.mark_changed("chat", "picture")
    assert first.versions["chat"] > second.versions["chat"] > before["chat"]
    assert first.versions["choices"] == before["choices"]


def test_an_answer_changes_the_version_at_its_start_and_at_its_end(user):
    versions = [user.versions["chat"]]
    views = [view.version for view in chat.ask(user, "how many cats are there", max_new_tokens=8)]
    assert versions[0] < views[0] == views[-2] < views[-1] == user.versions["chat"]


def test_a_reset_keeps_who_waits_and_gives_every_part_a_new_version(user):
    busy, before = user.busy, dict(user.versions)
    with user.in_order():
        user.reset()
    assert user.chat is None and user.image is None and user.busy is busy
    assert all(user.versions[part] > before[part] for part in PARTS)
