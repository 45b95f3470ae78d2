"""What a chat computes of its image: P goes with the question that decided it, and nothing is made twice."""

import pickle
from copy import copy

import pytest
import torch

from compressor import ChatSession, get_method
from compressor.errors import DecidedInDecoderError
from compressor.methods.fastv import FastV

QUESTIONS = ("How many cats are there?", "What color is the dog?")


def answered(model, image, method, *questions, rate=0.5):
    """A chat in which these questions were asked."""
    session = ChatSession(model, image, method=method, rate=rate)
    for question in questions:
        list(session.ask(question, max_new_tokens=2))
    return session


def require_undecided(session):
    with pytest.raises(DecidedInDecoderError):
        _ = session.projection
    assert session.image_tokens == session.budget


@pytest.mark.parametrize("reselect", [False, True])
def test_a_choice_inside_the_decoder_goes_with_its_question(model, image, reselect):
    session = answered(model, image, FastV(reselect=reselect), QUESTIONS[0])
    session.undo()
    require_undecided(session)
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    expected = answered(model, image, FastV(reselect=reselect), QUESTIONS[1])
    assert torch.equal(session.projection.weights, expected.projection.weights)
    assert session.turns[0].answer_ids == expected.turns[0].answer_ids
    session.clear()
    require_undecided(session)
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    assert torch.equal(session.projection.weights, expected.projection.weights)


@pytest.mark.parametrize("reselect", [False, True])
def test_after_undo_the_choice_of_the_question_that_remains_holds(model, image, reselect):
    session = answered(model, image, FastV(reselect=reselect), QUESTIONS[0])
    first = session.projection
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    session.undo()
    assert session.projection is first
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    expected = answered(model, image, FastV(reselect=reselect), *QUESTIONS)
    assert torch.equal(session.projection.weights, expected.projection.weights)
    torch.testing.assert_close(session.prefix_cache.request.logits, expected.prefix_cache.request.logits)


def test_a_choice_follows_the_turns_whoever_takes_them_back(model, image):
    session = answered(model, image, FastV(), QUESTIONS[0])
    del session.turns[:]
    require_undecided(session)


def test_a_choice_shows_while_the_answer_is_written(model, image):
    session = ChatSession(model, image, method=FastV(), rate=0.5)
    answer = session.ask(QUESTIONS[0], max_new_tokens=9, temperature=5.0, seed=1)
    next(answer)
    shown = session.projection
    answer.close()
    assert session.projection is shown


def test_a_choice_that_was_never_made_under_these_settings_is_open(model, image):
    session = answered(model, image, FastV(reselect=True), QUESTIONS[0])
    session.configure(rate=0.75)
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    session.undo()
    require_undecided(session)


def test_a_question_that_could_not_be_read_leaves_the_choice_of_the_last(model, image, monkeypatch):
    session = answered(model, image, FastV(reselect=True), QUESTIONS[0])
    first = session.projection
    with monkeypatch.context() as patched:
        patched.setattr(type(session.prefix_cache), "prefill", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(session.ask(QUESTIONS[1]))
    assert session.projection is first


def test_a_resumed_chat_takes_its_questions_back_with_their_choices(model, image):
    session = answered(model, image, FastV(reselect=True), *QUESTIONS)
    resumed = ChatSession.resume(model, pickle.loads(pickle.dumps(session.state)))
    assert torch.equal(resumed.projection.weights, session.projection.weights)
    for chat in (session, resumed):
        chat.undo()
    assert torch.equal(resumed.projection.weights, session.projection.weights)
    resumed.undo()
    require_undecided(resumed)


def test_what_needs_no_question_stays_when_questions_go(model, image):
    session = answered(model, image, "sample", *QUESTIONS)
    projection = session.projection
    session.undo()
    session.clear()
    assert session.projection is projection


def test_a_change_of_the_rate_builds_no_method(model, image, monkeypatch):
    built = []
    monkeypatch.setattr(
        "compressor.chat.compression.get_method", lambda *a, **o: built.append(a[0]) or get_method(*a, **o)
    )
    session = ChatSession(model, image, method="metacompress", rate=0.5)
    for percent in range(50):
        session.configure(method="metacompress", rate=percent / 100)
        assert session.projection.m == session.budget
    assert built == ["metacompress"]
    session.configure(method="random", rate=0.5, seed=1)
    session.configure(method="random", rate=0.5, seed=2)
    assert built == ["metacompress", "random", "random"]


def test_a_copy_under_another_setting_leaves_the_chat_as_it_was(model, image):
    session = answered(model, image, "sample", QUESTIONS[0])
    projection, reduced = session.projection, session.reduced
    trial = copy(session)
    trial.configure(method="spatial", rate=0.75)
    assert trial.tokens is session.tokens and trial.projection.m == 4
    assert (session.method.name, session.rate) == ("sample", 0.5)
    assert session.projection is projection and session.reduced is reduced


def test_an_image_is_encoded_again_only_for_what_its_tokens_lack(model, image, monkeypatch):
    wanted, encode = [], type(model).encode_batch
    monkeypatch.setattr(type(model), "encode_batch", lambda *a: wanted.append(a[2]) or encode(*a))
    session = ChatSession(model, image, method="sample", rate=0.5)
    expected = session.tokens.embeddings
    for method in ("tome", "sample", "visionzip", "tome", "metacompress", "visionzip", "none"):
        session.configure(method=method)
        assert session.projection is not None and session.method.needs <= session.tokens.extras
        assert torch.equal(session.tokens.embeddings, expected)
    first, *again = ({*want} - {"features"} for want in wanted)
    assert first == set() and again == [{"keys"}, {"keys", "cls_attention"}]
