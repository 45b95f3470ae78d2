"""The chat column: streaming, stopping, taking back, and what is shown of each turn."""

import html
import re

import pytest
import torch

from app.handlers import chat, choices
from app.user_session import UserSession
from compressor import ChatTurn, TurnStats
from compressor.chat.prefix_cache import PrefixCache
from compressor.world import scenes


def run(views) -> list[chat.ChatView]:
    return list(views)


def texts(view: chat.ChatView) -> list[str]:
    """The bare text of every message, without the line under a reply."""
    said = [
        re.match(r'<div class="say" dir="auto">(.*?)</div>', message["content"]) for message in view.messages
    ]
    return [html.unescape(found[1].replace("<br>", "\n")) for found in said]


def test_an_answer_streams_into_the_transcript(user):
    views = run(chat.ask(user, "how many cats are there", max_new_tokens=8))
    assert (
        views[0].running and views[0].question == "" and texts(views[0]) == ["how many cats are there", "…"]
    )
    assert not views[-1].running
    assert texts(views[-1]) == ["how many cats are there", user.chat.turns[-1].answer]


def test_partial_texts_are_prefixes_of_the_answer(user, monkeypatch):
    monkeypatch.setattr(chat.settings, "YIELDS_PER_S", 1e9)
    views = run(chat.ask(user, "what color is the dog", max_new_tokens=12))
    partial = [texts(view)[-1] for view in views[1:-1]]
    assert len(partial) > 2
    assert all(user.chat.turns[-1].answer.startswith(text.rstrip()) for text in partial)


def test_the_page_is_not_drawn_for_every_token(user, monkeypatch):
    monkeypatch.setattr(chat.settings, "YIELDS_PER_S", 1e-9)
    views = run(chat.ask(user, "what color is the dog", max_new_tokens=12))
    assert len(views) == 2 and not views[-1].running and user.chat.turns[0].stats.new_tokens > 2


def test_a_second_turn_prefills_only_its_own_text(user):
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    run(chat.ask(user, "what color is the dog", max_new_tokens=4))
    first, second = (turn.stats for turn in user.chat.turns)
    assert second.prompt_tokens < first.prompt_tokens
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", chat.view(user).cost)
    assert len(rows) == 2
    assert f"<td>{second.prompt_tokens}</td>" in rows[1] and f"<td>{first.image_tokens}</td>" in rows[0]


@pytest.mark.parametrize("question", ["", "   \n", "x" * 100_000])
def test_what_cannot_be_asked_is_said_and_the_chat_survives(user, question):
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    (view,) = run(chat.ask(user, question))
    assert 'role="alert"' in view.notice and view.question == question and not view.running
    assert len(user.chat.turns) == 1
    assert not run(chat.ask(user, "is it red", max_new_tokens=4))[-1].notice.startswith(
        '<p class="notice error'
    )
    assert len(user.chat.turns) == 2


def test_without_a_picture_the_next_step_is_named():
    for views in (chat.ask(UserSession(), "hi"), chat.regenerate(UserSession())):
        assert "New scene" in run(views)[-1].notice
    assert "New scene" in chat.undo(UserSession()).notice
    assert chat.clear(UserSession()).messages == []


@pytest.mark.parametrize(
    "question", ["<image> what color", "</s> is it red </s>", "USER: <s> cat ASSISTANT:"]
)
def test_control_tokens_in_a_question_are_only_text(user, question):
    view = run(chat.ask(user, question, max_new_tokens=4))[-1]
    assert texts(view)[0] == question
    assert len(user.chat.turns) == 1


def test_nothing_a_visitor_types_becomes_markup(user):
    evil = (
        '<img src="http://example.com/x.png" onerror="alert(1)">\n\n# big\n![](http://example.com/y.png) ${1}'
    )
    view = run(chat.ask(user, evil, max_new_tokens=2))[-1]
    source = view.messages[0]["content"]
    assert texts(view)[0] == evil
    assert "\n" not in source and "<img" not in source
    assert chat.plain("a\r\n<b>\r") == "a<br>&lt;b&gt;"


def test_unknown_words_are_named(user):
    view = run(chat.ask(user, "what color is the <i>zeppelin", max_new_tokens=4))[-1]
    assert "zeppelin" in view.notice and "“color”" not in view.notice and "<i>" not in view.notice


def test_stop_leaves_a_marked_half_and_the_chat_goes_on(user):
    views = chat.ask(user, "how many cats are there", max_new_tokens=100)
    next(views)
    chat.stop(user)
    last = run(views)[-1]
    turn = user.chat.turns[-1]
    assert turn.stopped and turn.stats.new_tokens < 100
    assert "Stopped" in last.messages[-1]["content"] and not last.running
    run(chat.ask(user, "is it red", max_new_tokens=4))
    assert len(user.chat.turns) == 2


def test_a_visitor_who_leaves_mid_answer_frees_the_session(user):
    views = chat.ask(user, "how many cats are there", max_new_tokens=100)
    next(views)
    next(views)
    views.close()
    assert not user.busy.locked()
    assert user.chat.turns[-1].stopped and len(user.settings_of_turns) == 1


def test_a_second_question_during_an_answer_is_refused(user):
    views = chat.ask(user, "how many cats are there", max_new_tokens=20)
    next(views)
    (refused,) = run(chat.ask(user, "is it red"))
    assert chat.BUSY in refused.notice
    assert run(views)[-1].notice == "" and len(user.chat.turns) == 1


def test_regenerate_answers_again_under_the_present_settings(user, pool):
    run(chat.ask(user, "how many cats are there", max_new_tokens=6))
    choices.set_compression(user, pool, "sample", 50)
    views = run(chat.regenerate(user, max_new_tokens=6))
    assert texts(views[0]) == ["how many cats are there", "…"]
    assert len(user.chat.turns) == 1 and user.chat.turns[0].stats.image_tokens == 8
    assert "50%" in views[-1].messages[-1]["content"] and "8 of 16" in views[-1].messages[-1]["content"]
    assert len(user.settings_of_turns) == 1


FAILURES = {
    "memory": (torch.OutOfMemoryError("CUDA out of memory."), "choose a smaller model"),
    "numbers": (
        RuntimeError("probability tensor contains either `inf` or `nan`"),
        "server's log",
    ),
    "anything": (KeyError("head"), "server's log"),
}


@pytest.mark.parametrize("place", ["step", "prefill"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("way", ["ask", "regenerate"])
def test_whatever_fails_in_an_answer_leaves_the_chat_as_it_was(
    user, monkeypatch, caplog, place, failure, way
):
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    turns, (error, words) = list(user.chat.turns), FAILURES[failure]

    def fail(*values):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(PrefixCache, place, fail)
        question = "what color is the dog"
        views = run(chat.ask(user, question) if way == "ask" else chat.regenerate(user))
    last = views[-1]
    assert not last.running and user.running is None and not user.busy.locked()
    assert 'role="alert"' in last.notice and html.escape(words) in last.notice
    assert last.question == (question if way == "ask" else None)
    assert user.chat.turns == turns and texts(last) == ["how many cats are there", turns[0].answer]
    assert caplog.records[-1].exc_info[1] is error and question not in caplog.text
    run(chat.ask(user, "is it red", max_new_tokens=4))
    assert len(user.chat.turns) == 2 and "50%" not in chat.view(user).messages[-1]["content"]


def test_whatever_fails_in_taking_back_is_said(user, monkeypatch, caplog):
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    for name, act in (("undo", chat.undo), ("clear", chat.clear)):
        monkeypatch.setattr(type(user.chat), name, lambda self: 1 / 0)
        view = act(user)
        assert 'role="alert"' in view.notice and len(view.messages) == 2 and not user.busy.locked()
    assert len(caplog.records) == 2


def test_every_view_during_an_answer_shows_it(user):
    views = chat.ask(user, "how many cats are there", max_new_tokens=20)
    next(views)
    (refused,) = run(chat.ask(user, "is it red"))
    assert (
        refused.running and texts(refused)[0] == "how many cats are there" and refused.question == "is it red"
    )
    assert chat.view(user).running and chat.BUSY in chat.view(user).notice
    run(views)
    assert not chat.view(user).running


def test_regenerate_leaves_the_input_box_alone(user):
    assert [view.question for view in run(chat.regenerate(user))] == [None]
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    assert {view.question for view in run(chat.regenerate(user, max_new_tokens=4))} == {None}


def test_regenerate_and_undo_need_a_turn(user):
    assert 'role="alert"' in run(chat.regenerate(user))[-1].notice
    assert 'role="alert"' in chat.undo(user).notice


def test_undo_gives_the_question_back_and_clear_forgets_all(user):
    run(chat.ask(user, "how many cats are there", max_new_tokens=4))
    run(chat.ask(user, "is it red", max_new_tokens=4))
    view = chat.undo(user)
    assert view.question == "is it red" and len(view.messages) == 2 == 2 * len(user.settings_of_turns)
    view = chat.clear(user)
    assert view.messages == [] and view.cost == "" and user.settings_of_turns == []
    assert user.chat is not None and user.image is not None


def test_each_reply_tells_the_settings_it_came_from(user, pool):
    run(chat.ask(user, "is it red", max_new_tokens=2))
    choices.set_compression(user, pool, "random", 25)
    view = run(chat.ask(user, "is it blue", max_new_tokens=2))[-1]
    first, second = view.messages[1]["content"], view.messages[3]["content"]
    assert "MetaCompress (untrained) · 90% · 2 of 16" in first
    assert "Random · 25% · 12 of 16" in second


def test_right_and_wrong_are_told_in_words(user, monkeypatch):
    question = "how many objects are there?"
    truth = scenes.scene(7).answer(question)
    monkeypatch.setattr(user.chat.model.__class__, "decode", lambda self, ids: truth.upper() + ".")
    assert "✓ Right" in run(chat.ask(user, question, max_new_tokens=1))[-1].messages[-1]["content"]
    monkeypatch.setattr(user.chat.model.__class__, "decode", lambda self, ids: "a <b>zebra</b>")
    wrong = run(chat.ask(user, question, max_new_tokens=1))[-1].messages[-1]["content"]
    assert f"✗ Wrong: it is “{truth}”" in wrong and "<b>" not in wrong


def test_a_stopped_answer_is_not_judged_even_where_it_is_right(user, monkeypatch):
    question = "how many objects are there?"
    truth = scenes.scene(7).answer(question)
    monkeypatch.setattr(user.chat.model.__class__, "decode", lambda self, ids: truth)
    monkeypatch.setattr(user.chat.model.__class__, "stop_ids", frozenset())
    views = chat.ask(user, question, max_new_tokens=100)
    next(views)
    chat.stop(user)
    about = run(views)[-1].messages[-1]["content"]
    assert user.chat.turns[0].stopped and chat.verdict(user, 0) is None
    assert "Stopped" in about and "Right" not in about and "Wrong" not in about
    run(chat.regenerate(user, max_new_tokens=3))
    assert chat.verdict(user, 0) == (True, truth)


@pytest.mark.parametrize(
    ("new_tokens", "ttft_s", "total_s", "rate"),
    [(11, 1.0, 3.0, "5"), (2, 0.5, 0.75, "4"), (1, 1.0, 1.0, "–"), (1, 1.0, 1.5, "–"), (5, 1.0, 1.0, "–")],
)
def test_tokens_per_second_count_what_came_after_the_first(user, new_tokens, ttft_s, total_s, rate):
    stats = TurnStats(8, 1234, new_tokens, ttft_s, total_s, 2_500_000)
    user.chat.turns.append(ChatTurn("q", "a", stats, False, [1], [2]))
    cells = re.findall(r"<td>(.*?)</td>", chat.cost_card(user.chat))
    assert cells == ["8", "1,234", f"{ttft_s * 1000:,.0f} ms", rate, "2.5 MB"]


def test_pronouns_are_judged_with_the_questions_before_them(user, monkeypatch):
    asked = []
    monkeypatch.setattr(
        scenes.Scene, "answer", lambda self, question, history=(): asked.append((question, list(history)))
    )
    for question in ("where is the cat", "what color is it"):
        run(chat.ask(user, question, max_new_tokens=2))
    assert ("what color is it", ["where is the cat"]) in asked


def test_what_has_no_known_truth_is_not_judged(user, pool):
    view = run(chat.ask(user, "why", max_new_tokens=2))[-1]
    assert "verdict" not in view.messages[-1]["content"]
    choices.photograph(user, pool, "Cat")
    view = run(chat.ask(user, "how many objects are there?", max_new_tokens=2))[-1]
    assert "verdict" not in view.messages[-1]["content"] and view.suggestions == []


def test_suggestions_belong_to_the_scene_and_change_with_the_chat(user):
    first = chat.view(user).suggestions
    assert len(first) == chat.settings.SUGGESTIONS
    assert all(user.scene.answer(question) is not None for question in first)
    run(chat.ask(user, first[0], max_new_tokens=2))
    assert chat.view(user).suggestions != first
