"""The sweeper works while there is something to do, and survives a sweep that fails."""

import logging
import threading

from app.sweeper import Sweeper


def test_it_begins_when_started_ends_with_its_task_and_begins_again():
    calls, ended = [], threading.Event()

    def task():
        calls.append(threading.current_thread())
        if len(calls) % 3 == 0:
            ended.set()
        return len(calls) % 3 != 0

    sweeper = Sweeper(task, 0.01)
    assert calls == []
    for count in (3, 6):
        sweeper.start()
        sweeper.start()
        assert ended.wait(10)
        calls[-1].join(10)
        assert len(calls) == count and sweeper._thread is None
        ended.clear()
    assert calls[0].daemon and len(set(calls[:3])) == len(set(calls[3:])) == 1


def test_a_sweep_that_fails_is_logged_and_the_next_one_follows(caplog):
    results = iter([ValueError("what a sweep met"), None])
    ended = threading.Event()

    def task():
        error = next(results)
        if error is not None:
            raise error
        ended.set()
        return False

    with caplog.at_level(logging.ERROR):
        Sweeper(task, 0.01).start()
        assert ended.wait(10)
    assert "what a sweep met" in caplog.text
