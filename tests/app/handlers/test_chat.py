"""The chat column: streaming, stopping, taking back, and what is shown of each turn."""

import html
import re

import pytest
import torch

from app.handlers import chat, choices
from app.user_session import Visit
from compressor import ChatTurn, TurnStats
from compressor.chat.prefix_cache import Reading
from compressor.world import scenes


def run(views) -> list[chat.ChatView]:
    return list(views)


def texts(view: chat.ChatView) -> list[str]:
    """The bare text of every message, without the line under a reply."""
    said = [
        re.match(r'<div class="say" dir="auto">(.*?)</div>', message["content"]) for message in view.messages
    ]
    return [html.unescape(found[1].replace("<br>", "\n")) for found in said]


def test_an_answer_streams_into_the_transcript(visit):
    views = run(chat.ask(visit, "how many cats are there", max_new_tokens=8))
    assert (
        views[0].running and views[0].question == "" and texts(views[0]) == ["how many cats are there", "…"]
    )
    assert not views[-1].running
    assert texts(views[-1]) == ["how many cats are there", visit.chat.turns[-1].answer]


def test_partial_texts_are_prefixes_of_the_answer(visit, monkeypatch):
    monkeypatch.setattr(chat.settings, "YIELDS_PER_S", 1e9)
    views = run(chat.ask(visit, "what color is the dog", max_new_tokens=12))
    partial = [texts(view)[-1] for view in views[1:-1]]
    assert len(partial) > 2
    assert all(visit.chat.turns[-1].answer.startswith(text.rstrip()) for text in partial)


def test_the_page_is_not_drawn_for_every_token(visit, monkeypatch):
    monkeypatch.setattr(chat.settings, "YIELDS_PER_S", 1e-9)
    views = run(chat.ask(visit, "what color is the dog", max_new_tokens=12))
    assert len(views) == 2 and not views[-1].running and visit.chat.turns[0].stats.new_tokens > 2


def test_a_second_turn_prefills_only_its_own_text(visit):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    run(chat.ask(visit, "what color is the dog", max_new_tokens=4))
    first, second = (turn.stats for turn in visit.chat.turns)
    assert second.prompt_tokens < first.prompt_tokens
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", chat.view(visit).cost)
    assert len(rows) == 2
    assert f"<td>{second.prompt_tokens}</td>" in rows[1] and f"<td>{first.image_tokens}</td>" in rows[0]


@pytest.mark.parametrize("question", ["", "   \n", "x" * 100_000])
def test_what_cannot_be_asked_is_said_and_the_chat_survives(visit, question):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    (view,) = run(chat.ask(visit, question))
    assert 'role="alert"' in view.notice and view.question == question and not view.running
    assert len(visit.chat.turns) == 1
    assert not run(chat.ask(visit, "is it red", max_new_tokens=4))[-1].notice.startswith(
        '<p class="notice error'
    )
    assert len(visit.chat.turns) == 2


def test_without_a_picture_the_next_step_is_named():
    for views in (chat.ask(Visit(), "hi"), chat.regenerate(Visit())):
        assert "New scene" in run(views)[-1].notice
    assert "New scene" in chat.undo(Visit()).notice
    assert chat.clear(Visit()).messages == []


@pytest.mark.parametrize(
    "question", ["<image> what color", "</s> is it red </s>", "USER: <s> cat ASSISTANT:"]
)
def test_control_tokens_in_a_question_are_only_text(visit, question):
    view = run(chat.ask(visit, question, max_new_tokens=4))[-1]
    assert texts(view)[0] == question
    assert len(visit.chat.turns) == 1


def test_nothing_a_visitor_types_becomes_markup(visit):
    evil = (
        '<img src="http://example.com/x.png" onerror="alert(1)">\n\n# big\n![](http://example.com/y.png) ${1}'
    )
    view = run(chat.ask(visit, evil, max_new_tokens=2))[-1]
    source = view.messages[0]["content"]
    assert texts(view)[0] == evil
    assert "\n" not in source and "<img" not in source
    assert chat.plain("a\r\n<b>\r") == "a<br>&lt;b&gt;"


def test_unknown_words_are_named(visit):
    view = run(chat.ask(visit, "what color is the <i>zeppelin", max_new_tokens=4))[-1]
    assert "zeppelin" in view.notice and "“color”" not in view.notice and "<i>" not in view.notice


def test_stop_leaves_a_marked_half_and_the_chat_goes_on(visit):
    views = chat.ask(visit, "how many cats are there", max_new_tokens=100)
    next(views)
    chat.stop(visit)
    last = run(views)[-1]
    turn = visit.chat.turns[-1]
    assert turn.stopped and turn.stats.new_tokens < 100
    assert "Stopped" in last.messages[-1]["content"] and not last.running
    run(chat.ask(visit, "is it red", max_new_tokens=4))
    assert len(visit.chat.turns) == 2


def test_a_visitor_who_leaves_mid_answer_frees_the_visit(visit):
    views = chat.ask(visit, "how many cats are there", max_new_tokens=100)
    next(views)
    next(views)
    views.close()
    assert not visit.busy.locked()
    assert visit.chat.turns[-1].stopped and len(visit.settings_of_turns) == 1


def test_a_second_question_during_an_answer_is_refused(visit):
    views = chat.ask(visit, "how many cats are there", max_new_tokens=20)
    next(views)
    (refused,) = run(chat.ask(visit, "is it red"))
    assert chat.BUSY in refused.notice
    assert run(views)[-1].notice == "" and len(visit.chat.turns) == 1


def test_regenerate_answers_again_under_the_present_settings(visit, shelf):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=6))
    choices.retune(visit, shelf, "sample", 50)
    views = run(chat.regenerate(visit, max_new_tokens=6))
    assert texts(views[0]) == ["how many cats are there", "…"]
    assert len(visit.chat.turns) == 1 and visit.chat.turns[0].stats.image_tokens == 8
    assert "50%" in views[-1].messages[-1]["content"] and "8 of 16" in views[-1].messages[-1]["content"]
    assert len(visit.settings_of_turns) == 1


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
    visit, monkeypatch, caplog, place, failure, way
):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    turns, (error, words) = list(visit.chat.turns), FAILURES[failure]

    def fail(*values):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(Reading, place, fail)
        question = "what color is the dog"
        views = run(chat.ask(visit, question) if way == "ask" else chat.regenerate(visit))
    last = views[-1]
    assert not last.running and visit.running is None and not visit.busy.locked()
    assert 'role="alert"' in last.notice and html.escape(words) in last.notice
    assert last.question == (question if way == "ask" else None)
    assert visit.chat.turns == turns and texts(last) == ["how many cats are there", turns[0].answer]
    assert caplog.records[-1].exc_info[1] is error and question not in caplog.text
    run(chat.ask(visit, "is it red", max_new_tokens=4))
    assert len(visit.chat.turns) == 2 and "50%" not in chat.view(visit).messages[-1]["content"]


def test_whatever_fails_in_taking_back_is_said(visit, monkeypatch, caplog):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    for name, act in (("undo", chat.undo), ("clear", chat.clear)):
        monkeypatch.setattr(type(visit.chat), name, lambda self: 1 / 0)
        view = act(visit)
        assert 'role="alert"' in view.notice and len(view.messages) == 2 and not visit.busy.locked()
    assert len(caplog.records) == 2


def test_every_view_during_an_answer_shows_it(visit):
    views = chat.ask(visit, "how many cats are there", max_new_tokens=20)
    next(views)
    (refused,) = run(chat.ask(visit, "is it red"))
    assert (
        refused.running and texts(refused)[0] == "how many cats are there" and refused.question == "is it red"
    )
    assert chat.view(visit).running and chat.BUSY in chat.view(visit).notice
    run(views)
    assert not chat.view(visit).running


def test_regenerate_leaves_the_input_box_alone(visit):
    assert [view.question for view in run(chat.regenerate(visit))] == [None]
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    assert {view.question for view in run(chat.regenerate(visit, max_new_tokens=4))} == {None}


def test_regenerate_and_undo_need_a_turn(visit):
    assert 'role="alert"' in run(chat.regenerate(visit))[-1].notice
    assert 'role="alert"' in chat.undo(visit).notice


def test_undo_gives_the_question_back_and_clear_forgets_all(visit):
    run(chat.ask(visit, "how many cats are there", max_new_tokens=4))
    run(chat.ask(visit, "is it red", max_new_tokens=4))
    view = chat.undo(visit)
    assert view.question == "is it red" and len(view.messages) == 2 == 2 * len(visit.settings_of_turns)
    view = chat.clear(visit)
    assert view.messages == [] and view.cost == "" and visit.settings_of_turns == []
    assert visit.chat is not None and visit.image is not None


def test_each_reply_tells_the_settings_it_came_from(visit, shelf):
    run(chat.ask(visit, "is it red", max_new_tokens=2))
    choices.retune(visit, shelf, "random", 25)
    view = run(chat.ask(visit, "is it blue", max_new_tokens=2))[-1]
    first, second = view.messages[1]["content"], view.messages[3]["content"]
    assert "MetaCompress (untrained) · 90% · 2 of 16" in first
    assert "Random · 25% · 12 of 16" in second


def test_right_and_wrong_are_told_in_words(visit, monkeypatch):
    question = "how many objects are there?"
    truth = scenes.scene(7).answer(question)
    monkeypatch.setattr(visit.chat.model.__class__, "decode", lambda self, ids: truth.upper() + ".")
    assert "✓ Right" in run(chat.ask(visit, question, max_new_tokens=1))[-1].messages[-1]["content"]
    monkeypatch.setattr(visit.chat.model.__class__, "decode", lambda self, ids: "a <b>zebra</b>")
    wrong = run(chat.ask(visit, question, max_new_tokens=1))[-1].messages[-1]["content"]
    assert f"✗ Wrong: it is “{truth}”" in wrong and "<b>" not in wrong


def test_a_stopped_answer_is_not_judged_even_where_it_is_right(visit, monkeypatch):
    question = "how many objects are there?"
    truth = scenes.scene(7).answer(question)
    monkeypatch.setattr(visit.chat.model.__class__, "decode", lambda self, ids: truth)
    monkeypatch.setattr(visit.chat.model.__class__, "stop_ids", frozenset())
    views = chat.ask(visit, question, max_new_tokens=100)
    next(views)
    chat.stop(visit)
    about = run(views)[-1].messages[-1]["content"]
    assert visit.chat.turns[0].stopped and chat.verdict(visit, 0) is None
    assert "Stopped" in about and "Right" not in about and "Wrong" not in about
    run(chat.regenerate(visit, max_new_tokens=3))
    assert chat.verdict(visit, 0) == (True, truth)


@pytest.mark.parametrize(
    ("new_tokens", "ttft_s", "total_s", "rate"),
    [(11, 1.0, 3.0, "5"), (2, 0.5, 0.75, "4"), (1, 1.0, 1.0, "–"), (1, 1.0, 1.5, "–"), (5, 1.0, 1.0, "–")],
)
def test_tokens_per_second_count_what_came_after_the_first(visit, new_tokens, ttft_s, total_s, rate):
    stats = TurnStats(8, 1234, new_tokens, ttft_s, total_s, 2_500_000)
    visit.chat.turns.append(ChatTurn("q", "a", stats, False, [1], [2]))
    cells = re.findall(r"<td>(.*?)</td>", chat.cost_card(visit.chat))
    assert cells == ["8", "1,234", f"{ttft_s * 1000:,.0f} ms", rate, "2.5 MB"]


def test_pronouns_are_judged_with_the_questions_before_them(visit, monkeypatch):
    asked = []
    monkeypatch.setattr(
        scenes.Scene, "answer", lambda self, question, history=(): asked.append((question, list(history)))
    )
    for question in ("where is the cat", "what color is it"):
        run(chat.ask(visit, question, max_new_tokens=2))
    assert ("what color is it", ["where is the cat"]) in asked


def test_what_has_no_known_truth_is_not_judged(visit, shelf):
    view = run(chat.ask(visit, "why", max_new_tokens=2))[-1]
    assert "verdict" not in view.messages[-1]["content"]
    choices.photograph(visit, shelf, "Cat")
    view = run(chat.ask(visit, "how many objects are there?", max_new_tokens=2))[-1]
    assert "verdict" not in view.messages[-1]["content"] and view.suggestions == []


def test_suggestions_belong_to_the_scene_and_change_with_the_chat(visit):
    first = chat.view(visit).suggestions
    assert len(first) == chat.settings.SUGGESTIONS
    assert all(visit.scene.answer(question) is not None for question in first)
    run(chat.ask(visit, first[0], max_new_tokens=2))
    assert chat.view(visit).suggestions != first
