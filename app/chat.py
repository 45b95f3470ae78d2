"""The chat: asking, streaming, stopping, and what is shown of every turn.

Plain functions from a `Visit` to what the page shows; nothing here knows Gradio. Texts of a visitor and of a
model are escaped in `plain` and nowhere else.
"""

import html
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from app import settings
from app.remarks import remarks
from app.sessions import Visit
from compressor import ChatSession, model_options
from compressor.errors import StudioError
from compressor.evaluation.scoring import exact_match

BUSY = "An answer is still being written; stop it or wait for its end."
NO_PICTURE = "There is no picture to ask about; choose one, or press New scene."


@dataclass(frozen=True)
class ChatView:
    """What the chat column shows.

    `messages` are Gradio's role/content dictionaries; `question` is the text to put into the input box, None
    to leave it as it is; `running` says that an answer is being written.
    """

    messages: list[dict[str, str]]
    cost: str
    notice: str
    suggestions: list[str]
    question: str | None = None
    running: bool = False


@dataclass(frozen=True)
class Running:
    """An answer that is being written, `text` of it so far; it follows the first `kept` turns."""

    question: str
    kept: int
    text: str = ""


def plain(text: str) -> str:
    """Text as HTML that shows exactly that text, on one line of source so that Markdown leaves it alone."""
    return html.escape(text).replace("\r", "").replace("\n", "<br>")


def notice(kind: str, text: str) -> str:
    """A line for the reader: `kind` is "error" or "info", `text` is plain. Empty text gives nothing."""
    if not text:
        return ""
    role, word = ("alert", "Not done") if kind == "error" else ("status", "Note")
    return f'<p class="notice {kind}" role="{role}"><b>{word}:</b> {plain(text)}</p>'


def progress_notice(share: float, sentence: str) -> str:
    """A line that says how far something is: the share that is done, in [0, 1], as a bar."""
    bar = f'<progress max="1" value="{share:.3f}" aria-label="{html.escape(sentence)}"></progress>'
    return f'<p class="notice info">{plain(sentence)}{bar}</p>'


def ask(visit: Visit, question: str, **options: float) -> Iterator[ChatView]:
    """Streams the answer to `question`; what cannot be asked gives one view with the reason.

    Args:
        options: passed to `ChatSession.ask` (max_new_tokens, temperature, seed).
    """
    if visit.chat is None:
        yield view(visit, error=NO_PICTURE, question=question)
        return
    yield from _stream(visit, question, len(visit.chat.turns), lambda: visit.chat.ask(question, **options))


def regenerate(visit: Visit, **options: float) -> Iterator[ChatView]:
    """Streams a new answer to the last question, under the settings that hold now."""
    if visit.chat is None:
        yield view(visit, error=NO_PICTURE)
        return
    kept = max(0, len(visit.chat.turns) - 1)
    last = visit.chat.turns[-1].question if visit.chat.turns else ""
    yield from _stream(visit, last, kept, lambda: visit.chat.regenerate(**options))


def stop(visit: Visit) -> None:
    """Asks a running answer to end after its current token; the stream itself then shows what was written."""
    if visit.chat is not None:
        visit.chat.stop()


def undo(visit: Visit) -> ChatView:
    """Takes back the last question and its answer; the question returns to the input box."""
    if visit.chat is None:
        return view(visit, error=NO_PICTURE)
    with visit.interrupting():
        last = visit.chat.turns[-1].question if visit.chat.turns else ""
        try:
            visit.chat.undo()
        except StudioError as error:
            return view(visit, error=str(error))
        _note_settings(visit)
    return view(visit, question=last)


def clear(visit: Visit) -> ChatView:
    """Forgets all turns; picture and settings stay."""
    if visit.chat is not None:
        with visit.interrupting():
            visit.chat.clear()
            _note_settings(visit)
    return view(visit)


def view(
    visit: Visit,
    *,
    error: str = "",
    info: str = "",
    question: str | None = None,
    running: Running | None = None,
) -> ChatView:
    """The chat column as it stands, with the answer that is being written, if any."""
    turns = [] if visit.chat is None else visit.chat.turns
    suggestions = [] if visit.scene is None else visit.scene.suggestions(settings.SUGGESTIONS, len(turns))
    return ChatView(
        messages=_messages(visit, running),
        cost=cost_card(visit.chat),
        notice=notice("error", error) or notice("info", info),
        suggestions=suggestions,
        question=question,
        running=running is not None,
    )


def verdict(visit: Visit, index: int) -> tuple[bool, str] | None:
    """Whether the reply of turn `index` is right, and the true answer; None where the truth is not known."""
    turn = visit.chat.turns[index]
    if visit.scene is None or turn.stopped:
        return None
    truth = visit.scene.answer(turn.question, [earlier.question for earlier in visit.chat.turns[:index]])
    return None if truth is None else (exact_match(turn.answer, truth), truth)


def cost_card(chat: ChatSession | None) -> str:
    """A table of what each turn of the chat cost, all of it measured; empty before the first turn."""
    if chat is None or not chat.turns:
        return ""
    rows = ""
    for number, turn in enumerate(chat.turns, start=1):
        stats = turn.stats
        decoding_s = stats.total_s - stats.ttft_s
        cells = (
            f"{stats.image_tokens:,}",
            f"{stats.prompt_tokens:,}",
            f"{stats.ttft_s * 1000:,.0f} ms",
            f"{(stats.new_tokens - 1) / decoding_s:,.0f}" if stats.new_tokens > 1 and decoding_s > 0 else "–",
            _size(stats.kv_cache_bytes),
        )
        rows += f'<tr><th scope="row">{number}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    heads = (
        "Turn",
        "Image tokens",
        "Newly prefilled",
        "Time to first token",
        "Tokens per second",
        "Cache size",
    )
    head = "".join(f'<th scope="col">{word}</th>' for word in heads)
    return (
        '<div class="cost" tabindex="0"><table><caption>What each turn cost</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _stream(visit: Visit, question: str, kept: int, start: Callable[[], Iterator[str]]) -> Iterator[ChatView]:
    """Streams one answer while holding the visit; whatever ends the stream, the visit is free again."""
    if not visit.busy.acquire(blocking=False):
        yield view(visit, error=BUSY, question=question)
        return
    try:
        yield from _write(visit, Running(question, kept), start)
    finally:
        _note_settings(visit)
        visit.busy.release()


def _write(visit: Visit, running: Running, start: Callable[[], Iterator[str]]) -> Iterator[ChatView]:
    try:
        answer = start()
    except StudioError as error:
        yield view(visit, error=str(error), question=running.question)
        return
    shown_at = 0.0
    with closing(answer) as deltas:
        yield view(visit, question="", running=running)
        for delta in deltas:
            running = replace(running, text=running.text + delta)
            if time.monotonic() - shown_at >= 1 / settings.YIELDS_PER_S:
                shown_at = time.monotonic()
                yield view(visit, running=running)
    _note_settings(visit)
    yield view(visit, info=remarks(visit.chat.model, running.question))


def _note_settings(visit: Visit) -> None:
    """Brings `settings_of_turns` up to date: a new turn was answered under the present settings."""
    known = {id(turn): setting for turn, setting in visit.settings_of_turns}
    visit.settings_of_turns = [(turn, known.get(id(turn)) or _setting(visit)) for turn in visit.chat.turns]


def _setting(visit: Visit) -> str:
    chat = visit.chat
    told = ["No compression"] if chat.method.name == "none" else [chat.method.label, f"{chat.rate:.0%}"]
    told.append(f"{chat.image_tokens} of {len(chat.tokens)} image tokens")
    if visit.reinserts_separators:
        told.append("separators put back")
    options = model_options()
    for name, value in chat.model.options.items():
        option = options[name]
        if value != option.default:
            told.append(option.title.lower() if value is True else f"{option.title.lower()}: {value}")
    return " · ".join(told)


def _messages(visit: Visit, running: Running | None) -> list[dict[str, str]]:
    turns = [] if visit.chat is None else visit.chat.turns
    messages = []
    for index, turn in enumerate(turns[: len(turns) if running is None else running.kept]):
        messages.append({"role": "user", "content": _say(turn.question)})
        messages.append({"role": "assistant", "content": _say(turn.answer) + _about(visit, index)})
    if running is not None:
        messages.append({"role": "user", "content": _say(running.question)})
        messages.append({"role": "assistant", "content": _say(running.text or "…")})
    return messages


def _say(text: str) -> str:
    return f'<div class="say" dir="auto">{plain(text)}</div>'  # the first strong letter says which way


def _about(visit: Visit, index: int) -> str:
    """The line under a reply: right or wrong in words and a sign, or stopped; and its settings."""
    parts = []
    judged = verdict(visit, index)
    if visit.chat.turns[index].stopped:
        parts.append('<span class="verdict stopped">◼ Stopped</span>')
    elif judged is not None and judged[0]:
        parts.append('<span class="verdict right">✓ Right</span>')
    elif judged is not None:
        parts.append(f'<span class="verdict wrong">✗ Wrong: it is “{plain(judged[1])}”</span>')
    if index < len(visit.settings_of_turns):
        parts.append(f'<span class="setting">{plain(visit.settings_of_turns[index][1])}</span>')
    return f'<div class="about">{"".join(parts)}</div>'


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
