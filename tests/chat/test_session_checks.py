"""Questions, options and settings that a chat refuses before anything changes."""

import pytest

from compressor import ChatSession
from compressor.errors import (
    ContextLengthError,
    InvalidOptionError,
    InvalidProjectionError,
    InvalidQuestionError,
    InvalidRateError,
    SessionError,
    UnknownMethodError,
)
from compressor.methods.selection import Sample
from tests.chat.test_session import QUESTIONS


@pytest.mark.parametrize(
    ("question", "options", "error"),
    [
        ("", {}, InvalidQuestionError),
        (" \n ", {}, InvalidQuestionError),
        ("cat " * 25_000, {}, InvalidQuestionError),
        ("cats " * 300, {}, ContextLengthError),
        ("Is it red?", {"temperature": -1}, InvalidOptionError),
        ("Is it red?", {"temperature": float("nan")}, InvalidOptionError),
        ("Is it red?", {"top_p": 0}, InvalidOptionError),
        ("Is it red?", {"max_new_tokens": 0}, InvalidOptionError),
        ("Is it red?", {"beams": 2}, InvalidOptionError),
    ],
)
def test_bad_questions_leave_the_chat_alone(model, image, question, options, error):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=3))
    with pytest.raises(error):
        session.ask(question, **options)
    with pytest.raises((InvalidOptionError, ContextLengthError)):
        session.regenerate(temperature=-1)
    assert [turn.question for turn in session.turns] == [QUESTIONS[0]]
    assert list(session.ask(QUESTIONS[1], max_new_tokens=3)) is not None and len(session.turns) == 2


def test_bad_settings_change_nothing(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    for change, error in (
        ({"rate": 1.0}, InvalidRateError),
        ({"rate": -0.1}, InvalidRateError),
        ({"rate": float("nan")}, InvalidRateError),
        ({"method": "nope"}, UnknownMethodError),
        ({"method": "random", "colour": 1}, InvalidOptionError),
    ):
        with pytest.raises(error):
            session.configure(**change)
    assert (session.method.name, session.rate) == ("sample", 0.5)
    with pytest.raises(InvalidRateError):
        ChatSession(model, image, rate=1)


def test_one_answer_at_a_time(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    running = session.ask(QUESTIONS[0], temperature=5.0, seed=1)
    next(running)
    for act in (session.undo, session.clear, session.regenerate, lambda: session.configure(rate=0.1)):
        with pytest.raises(SessionError):
            act()
    running.close()
    session.clear()
    first, second = (session.ask(question, temperature=5.0, seed=1) for question in QUESTIONS[:2])
    next(first)
    with pytest.raises(SessionError, match="still being written"):
        next(second)
    first.close()
    assert [turn.question for turn in session.turns] == [QUESTIONS[0]]


def test_a_method_that_writes_no_projection_is_refused_before_anything_is_read(model, image):
    class Broken(Sample):
        def weights(self, tokens, budget):
            return super().weights(tokens, budget) * -1

    session = ChatSession(model, image, method=Broken(), rate=0.5)
    for _ in range(2):
        with pytest.raises(InvalidProjectionError):
            session.ask("Is it red?")
    assert not session.turns
