"""A chat that is released or stored, and goes on."""

import pickle

import pytest
import torch

from compressor import ChatSession
from compressor.errors import ModelMismatchError, SessionError
from tests.chat.test_session import QUESTIONS


@pytest.mark.parametrize("method", ["metacompress", "divprune", "fastv", "none"])
def test_a_released_chat_goes_on_with_the_same_numbers(model, image, method):
    held, released = (ChatSession(model, image, method=method, rate=0.5) for _ in range(2))
    for session in (held, released):
        list(session.ask(QUESTIONS[0], max_new_tokens=4))
    answering = released.regenerate(max_new_tokens=4)
    next(answering)
    with pytest.raises(SessionError):
        released.release()
    list(answering)
    released.release()
    assert (
        released.compression._tokens is None
        and released.compression._reduced is None
        and released.prefix_cache.ids == []
    )
    for session in (held, released):
        list(session.ask(QUESTIONS[1], max_new_tokens=4))
    torch.testing.assert_close(
        released.prefix_cache.request.logits, held.prefix_cache.request.logits, atol=1e-5, rtol=0
    )
    assert [turn.answer_ids for turn in released.turns] == [turn.answer_ids for turn in held.turns]


def test_state_survives_pickling_and_resumes_without_encoding(model, image, monkeypatch):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    state = pickle.loads(pickle.dumps(session.state))
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    expected = session.prefix_cache.request.logits
    resumed = ChatSession.resume(model, state)
    with monkeypatch.context() as broken:
        for work in ("encode_batch", "compress"):
            broken.setattr(type(model), work, lambda *_: 1 / 0)
        list(resumed.ask(QUESTIONS[1], max_new_tokens=4))
    assert resumed.turns[1].answer_ids == session.turns[1].answer_ids
    torch.testing.assert_close(resumed.prefix_cache.request.logits, expected, atol=1e-5, rtol=0)
    with pytest.raises(ModelMismatchError):
        ChatSession.resume(model, {**state, "model": "another"})


def test_a_chat_is_resumed_as_its_image_was_shown(model, image):
    session = ChatSession(model.variant(crop=True), image.resize((120, 60)), method="sample", rate=0.5)
    resumed = ChatSession.resume(model, pickle.loads(pickle.dumps(session.state)))
    assert resumed.model.options == {"crop": True} and resumed.tokens.layout == session.tokens.layout
