"""Chats answered side by side say what each would say alone."""

import pytest

from compressor import ChatSession
from compressor.chat.batch import greedy_answer_ids
from compressor.errors import ContextLengthError
from tests.endless import endless


@pytest.mark.parametrize("max_new_tokens", [1, 2, 7])
def test_answers_of_different_lengths_end_where_they_would_alone(model, image, max_new_tokens) -> None:
    """The random model seldom ends an answer, the third of these chats does; all go on after it."""
    asked = [["how many cats?", "what color is it?", "is it red?"], ["is it?", "no", "the dog"]]
    asked.append(["yes, no, red, blue", "s", "color is the dog"])
    reduced = [model.encode(image.rotate(40 * i)).embeddings[: 5 + i] for i in range(3)]
    together = greedy_answer_ids(model, reduced, asked, max_new_tokens)
    assert {len(reply) for chat in together for reply in chat} <= set(range(1, max_new_tokens + 1))
    alone = [
        greedy_answer_ids(model, [r], [q], max_new_tokens)[0] for r, q in zip(reduced, asked, strict=True)
    ]
    assert together == alone


@pytest.mark.parametrize("max_new_tokens", [2, 20])
def test_the_ids_are_those_of_a_chat(any_model, image, max_new_tokens) -> None:
    """The bundled model ends its answers, the random one is cut short."""
    asked = ["how many cats?", "what color is it?", "is it red?"]
    session = ChatSession(any_model, image, method="none")
    for question in asked:
        list(session.ask(question, max_new_tokens=max_new_tokens))
    (said,) = greedy_answer_ids(any_model, [session.tokens.embeddings], [asked], max_new_tokens)
    assert said == [turn.answer_ids for turn in session.turns]


@pytest.mark.parametrize(("turn", "room"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)])
def test_prompt_and_answer_fill_the_context_and_no_more(model, image, monkeypatch, turn, room) -> None:
    """The second chat is a token longer than the first, and each has its own limit."""
    model, limit = endless(model, monkeypatch), 2
    questions = [["how many cats?", "is it red?"][: turn + 1]] * 2
    images = [model.encode(image).embeddings[:size] for size in (5, 6)]
    read = 6 - 1 + len(model.prompt_ids(questions[0][0], first=True))
    if turn:  # after an answer of two tokens and its end
        read += 3 + len(model.prompt_ids(questions[0][1], first=False))
    monkeypatch.setattr(model, "context_length", read + room)
    if room == 0:
        with pytest.raises(ContextLengthError):
            greedy_answer_ids(model, images, questions, limit)
    else:
        said = greedy_answer_ids(model, images, questions, limit)
        assert [len(chat[turn]) for chat in said] == [min(limit, room + 1), min(limit, room)]
