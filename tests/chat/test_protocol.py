"""The protocol of turns that a session and a batch share."""

import pytest

from compressor import ChatSession
from compressor.chat.batch import greedy_answer_ids
from compressor.chat.protocol import answer_limit, deciding_ids, is_complete, transcript_ids, with_eos
from compressor.errors import ContextLengthError
from tests.endless import endless


@pytest.mark.parametrize("ids", [[], [7], [7, 8]])
def test_an_answer_is_closed_once(model, ids):
    assert with_eos(model, ids) == with_eos(model, [*ids, model.eos_id]) == [*ids, model.eos_id]


def test_a_transcript_closes_every_answer_and_ends_with_the_prompt(model):
    turns = [([1, 5], [7]), ([6], [8, model.eos_id])]
    closed = [1, 5, 7, model.eos_id, 6, 8, model.eos_id]
    assert transcript_ids(model, turns, [9, 10]) == [*closed, 9, 10]
    assert transcript_ids(model, turns, []) == closed and transcript_ids(model, [], [9]) == [9]


@pytest.mark.parametrize(("room", "limit"), [(1, 1), (4, 4), (5, 5), (6, 5)])
def test_an_answer_ends_with_the_context_or_what_is_asked_for(model, monkeypatch, room, limit):
    """Five ids, one of them for an image of eight tokens, are twelve tokens."""
    monkeypatch.setattr(model, "context_length", 12 + room)
    assert answer_limit(model, [1, 2, 3, 4, 5], 8, 5) == limit


@pytest.mark.parametrize("room", [0, -1])
def test_a_transcript_without_room_for_an_answer_is_refused(model, monkeypatch, room):
    monkeypatch.setattr(model, "context_length", 12 + room)
    with pytest.raises(ContextLengthError, match=f"the {12 + room} tokens .* raise the compression rate"):
        answer_limit(model, [1, 2, 3, 4, 5], 8, 5)


def test_a_session_and_a_batch_refuse_a_long_chat_with_one_sentence(model, image, monkeypatch):
    session, question = ChatSession(model, image, "none"), "how many cats?"
    monkeypatch.setattr(model, "context_length", 17)
    with pytest.raises(ContextLengthError) as alone:
        session.ask(question)
    with pytest.raises(ContextLengthError) as together:
        greedy_answer_ids(model, [session.reduced], [[question]], 5)
    assert str(alone.value) == str(together.value)


def test_an_end_token_or_the_limit_completes_an_answer(model, monkeypatch):
    assert is_complete(model, [7, model.eos_id], 9) and is_complete(model, [7, 8], 2)
    assert not is_complete(model, [7, 8], 3)
    assert not is_complete(endless(model, monkeypatch), [7, model.eos_id], 9)


def test_the_first_prompt_decides_unless_every_turn_does():
    assert deciding_ids([1, 2, 3, 4], 2) == (1, 2)
    assert deciding_ids([1, 2, 3, 4], 2, reselect=True) == (1, 2, 3, 4)
