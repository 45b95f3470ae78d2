"""What a chat refuses, and how it goes on after an answer that failed."""

import pytest
import torch

from compressor import ChatSession
from compressor.errors import (
    DecidedInDecoderError,
    InvalidQuestionError,
    InvalidRateError,
    NumericalError,
    SessionError,
)
from tests.chat.test_session import QUESTIONS
from tests.endless import endless


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.clear(),
        lambda session: session.undo(),
        lambda session: session.configure(rate=0.75),
        lambda session: session.configure(method="spatial"),
        lambda session: list(session.ask("Is it blue?", max_new_tokens=2)),
        lambda session: list(session.regenerate(max_new_tokens=5)),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_question_to_a_chat_that_has_changed_since_is_refused(model, image, change, again):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=3))
    answer = session.regenerate(max_new_tokens=3) if again else session.ask(QUESTIONS[1], max_new_tokens=3)
    change(session)
    turns, settings = list(session.turns), (session.method, session.rate)
    with pytest.raises(SessionError, match="changed after this question was asked"):
        list(answer)
    assert session.turns == turns and (session.method, session.rate) == settings
    list(session.ask(QUESTIONS[2], max_new_tokens=2))
    assert len(session.turns) == len(turns) + 1


@pytest.mark.parametrize("question", [None, 3, b"Is it red?", "is it \ud83d?"])
def test_what_is_no_text_is_no_question(model, image, question):
    session = ChatSession(model, image, method="sample", rate=0.5)
    with pytest.raises(InvalidQuestionError):
        session.ask(question)


@pytest.mark.parametrize("rate", ["0", None, float("nan"), [0.5], True, 1, -0.1])
def test_what_is_no_rate_is_refused(model, image, rate):
    with pytest.raises(InvalidRateError, match="at least 0 and below 1"):
        ChatSession(model, image, method="sample", rate=rate)


def failing_head(model, monkeypatch, after):
    """Has the model's numbers overflow from its pass number `after` on."""
    head, passes = model.hf.lm_head.forward, iter(range(1000))
    monkeypatch.setattr(
        model.hf.lm_head, "forward", lambda x: head(x) * (torch.nan if next(passes) >= after else 1.0)
    )


def known_projection(session):
    """P, or None where a question is still to decide it."""
    try:
        return session.projection
    except DecidedInDecoderError:
        return None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("method", "options"), [("sample", {}), ("fastv", {}), ("fastv", {"reselect": True})]
)
@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("turn", [0, 1])
def test_an_answer_that_overflows_leaves_a_chat_that_goes_on(
    model, image, monkeypatch, temperature, method, options, passes, turn
):
    """It fails in the first pass, which leaves no turn, or in a later one, which leaves a partial answer."""
    model = endless(model, monkeypatch)
    session, whole = (ChatSession(model, image, method, 0.5, **options) for _ in range(2))
    for question in QUESTIONS[:turn]:
        for each in (session, whole):
            list(each.ask(question, max_new_tokens=3))
    held = (list(session.turns), list(session.prefix_cache.ids), session.prefix_cache.request)
    projection = known_projection(session)
    with monkeypatch.context() as broken:
        failing_head(model, broken, passes)
        with pytest.raises(NumericalError, match="overflow in float32"):
            list(session.ask(QUESTIONS[turn], max_new_tokens=6, temperature=temperature, seed=1))
    assert len(session.turns) == turn + bool(passes)
    if passes:
        assert session.turns[-1].stopped and session.turns[-1].stats.new_tokens == passes
        session.undo()
    else:
        assert held == (session.turns, session.prefix_cache.ids, session.prefix_cache.request)
        assert known_projection(session) is projection
    for each in (session, whole):
        list(each.ask(QUESTIONS[2], max_new_tokens=4))
    assert session.turns[-1].answer_ids == whole.turns[-1].answer_ids
    assert torch.equal(session.projection.weights, whole.projection.weights)
    torch.testing.assert_close(
        session.prefix_cache.request.logits, whole.prefix_cache.request.logits, atol=1e-5, rtol=0
    )


def test_a_regeneration_that_overflows_keeps_the_old_answer(model, image, monkeypatch):
    session = ChatSession(model, image, method="fastv", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    old, projection = list(session.turns), session.projection
    with monkeypatch.context() as broken:
        failing_head(model, broken, 0)
        with pytest.raises(NumericalError):
            list(session.regenerate())
    assert session.turns == old and session.projection is projection
    list(session.regenerate(max_new_tokens=4))
    assert session.turns[0].answer_ids == old[0].answer_ids
