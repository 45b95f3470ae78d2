"""Where an answer ends, and the seed that it is drawn with."""

import pickle

import pytest
import torch

from compressor import ChatSession
from compressor.errors import ContextLengthError
from tests.chat.test_session import QUESTIONS
from tests.endless import endless


def test_a_stopped_answer_stops_no_later_one(model, image, monkeypatch):
    session = ChatSession(endless(model, monkeypatch), image, rate=0.5, method="sample")
    for _ in session.ask(QUESTIONS[0], max_new_tokens=20):
        session.stop()
    assert session.turns[0].stopped and session.turns[0].stats.new_tokens < 20
    session.stop()
    for answer in (
        lambda: session.ask(QUESTIONS[1], max_new_tokens=5),
        lambda: session.regenerate(max_new_tokens=5),
    ):
        list(answer())
        assert session.turns[-1].stats.new_tokens == 5 and not session.turns[-1].stopped


def test_a_stop_before_the_first_token_is_heard(model, image, monkeypatch):
    session = ChatSession(endless(model, monkeypatch), image, rate=0.5, method="sample")
    answer = session.ask(QUESTIONS[0], max_new_tokens=20)
    session.stop()
    list(answer)
    assert session.turns[0].stopped and session.turns[0].stats.new_tokens == 1


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_prompt_and_answer_fill_the_context_and_no_more(model, image, monkeypatch, turn, room):
    model = endless(model, monkeypatch)
    session = ChatSession(model, image, rate=0.5, method="sample")
    for question in QUESTIONS[:turn]:
        list(session.ask(question, max_new_tokens=3))
    prompt = model.prompt_ids(QUESTIONS[turn], first=not turn)
    read = len(session._transcript(turn, prompt)) - 1 + session.projection.m
    monkeypatch.setattr(model, "context_length", read + room)
    if room == 0:
        with pytest.raises(ContextLengthError):
            session.ask(QUESTIONS[turn], max_new_tokens=9)
    else:
        list(session.ask(QUESTIONS[turn], max_new_tokens=9))
        assert session.turns[-1].stats.new_tokens == room and not session.turns[-1].stopped


@pytest.mark.parametrize(
    ("texts", "pieces"),
    [
        (["caf", "caf\ufffd", "café", "café!"], ["caf", "é", "!"]),  # a character of two tokens
        (["caf", "caf\ufffd"], ["caf", "\ufffd"]),  # whose second never came
        (["a .", "a.", "a. b"], ["a ."]),  # what was shown is not taken back
        (["", "a", "a", "a b"], ["a", " b"]),
    ],
)
def test_pieces_are_whole_characters_that_only_add(model, image, monkeypatch, texts, pieces):
    model = endless(model, monkeypatch)
    monkeypatch.setattr(type(model), "decode", lambda self, ids: texts[len(ids) - 1])
    session = ChatSession(model, image, rate=0.5, method="sample")
    assert list(session.ask(QUESTIONS[0], max_new_tokens=len(texts))) == pieces
    assert session.turns[0].answer == texts[-1]


def test_an_answer_keeps_the_seed_it_was_drawn_with(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=8, temperature=5.0))
    list(session.ask(QUESTIONS[1], max_new_tokens=8, temperature=5.0))
    seeds = [turn.stats.seed for turn in session.turns]
    assert len(set(seeds)) == 2
    again = ChatSession(model, image, method="sample", rate=0.5)
    for question, seed in zip(QUESTIONS, seeds, strict=False):
        list(again.ask(question, max_new_tokens=8, temperature=5.0, seed=seed))
    assert [turn.answer_ids for turn in again.turns] == [turn.answer_ids for turn in session.turns]
    assert [turn.stats.seed for turn in again.turns] == seeds


def test_a_draw_leaves_the_generator_of_the_process_alone(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    before = torch.get_rng_state()
    list(session.ask(QUESTIONS[0], max_new_tokens=4, temperature=5.0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_that_was_stored_without_seeds_is_resumed(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=3))
    state = pickle.loads(pickle.dumps(session.state))
    del vars(state["turns"][0].stats)["seed"]
    resumed = ChatSession.resume(model, pickle.loads(pickle.dumps(state)))
    list(resumed.ask(QUESTIONS[1], max_new_tokens=3))
    assert [turn.stats.seed is None for turn in resumed.turns] == [True, False]
