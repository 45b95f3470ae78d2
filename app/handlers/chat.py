"""The chat: asking, streaming, stopping, and what is shown of every turn.

Plain functions from a `Visit` to what the page shows; nothing here knows Gradio. Texts of a visitor and of a
model are escaped in `plain` and nowhere else.
"""

import html
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from app import settings
from app.failures import explained
from app.handlers.remarks import remarks
from app.user_session import Running, Visit
from compressor import ChatSession, Projection, model_options
from compressor.errors import DecidedInDecoderError, SessionError, StudioError
from compressor.evaluation.scoring import exact_match

BUSY = "An answer is still being written; stop it or wait for its end."
NO_PICTURE = "There is no picture to ask about; choose one, or press New scene."


@dataclass(frozen=True)
class ChatView:
    """What the chat column shows.

    `messages` are Gradio's role/content dictionaries; `question` is the text to put into the input box, None
    to leave it as it is; `running` says that an answer is being written; `version` is that of the visit.
    """

    messages: list[dict[str, str]]
    cost: str
    notice: str
    suggestions: list[str]
    version: int
    question: str | None = None
    running: bool = False


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

    def begin(chat: ChatSession) -> tuple[Running, Iterator[str]]:
        return Running(question, len(chat.turns)), chat.ask(question, **options)

    yield from _stream(visit, begin, question)


def regenerate(visit: Visit, **options: float) -> Iterator[ChatView]:
    """Streams a new answer to the last question, under the settings that hold now; the input box stays."""

    def begin(chat: ChatSession) -> tuple[Running, Iterator[str]]:
        answer = chat.regenerate(**options)
        return Running(chat.turns[-1].question, len(chat.turns) - 1), answer

    yield from _stream(visit, begin, None)


def stop(visit: Visit) -> None:
    """Asks a running answer to end after its current token; the stream itself then shows what was written."""
    if visit.chat is not None:
        visit.chat.stop()


def undo(visit: Visit) -> ChatView:
    """Takes back the last question and its answer; the question returns to the input box."""
    try:
        with visit.interrupting():
            if visit.chat is None:
                raise SessionError(NO_PICTURE)
            last = visit.chat.turns[-1].question if visit.chat.turns else None
            visit.chat.undo()
            _settle(visit)
    except Exception as error:  # the page needs a view of what is there now, whatever it is
        return _refusal(visit, str(explained(error)))
    return view(visit, question=last)


def clear(visit: Visit) -> ChatView:
    """Forgets all turns; picture and settings stay."""
    try:
        with visit.interrupting():
            if visit.chat is not None:
                visit.chat.clear()
            _settle(visit)
    except Exception as error:  # as in `undo`
        return _refusal(visit, str(explained(error)))
    return view(visit)


def view(visit: Visit, question: str | None = None) -> ChatView:
    """The chat column as it stands, with the answer that is being written, if any."""
    with visit.lock:
        turns = [] if visit.chat is None else visit.chat.turns
        suggestions = [] if visit.scene is None else visit.scene.suggestions(settings.SUGGESTIONS, len(turns))
        return ChatView(
            messages=_messages(visit),
            cost=cost_card(visit.chat),
            notice=visit.chat_notice,
            suggestions=suggestions,
            version=visit.versions["chat"],
            question=question,
            running=visit.running is not None,
        )


def _refusal(visit: Visit, reason: str, question: str | None = None) -> ChatView:
    """The chat column as it was, and why there is nothing new in it."""
    with visit.lock:
        visit.chat_notice = notice("error", reason)
        visit.touch("chat")
        return view(visit, question)


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


def _stream(
    visit: Visit, begin: Callable[[ChatSession], tuple[Running, Iterator[str]]], typed: str | None
) -> Iterator[ChatView]:
    """Streams one answer while holding the visit; whatever ends the stream, the visit is free again.

    Args:
        begin: starts the answer.
        typed: what the input box is given back if there is no answer; None leaves the box alone.
    """
    if visit.chat is None:
        yield _refusal(visit, NO_PICTURE, typed)
        return
    if not visit.busy.acquire(blocking=False):
        yield _refusal(visit, BUSY, typed)
        return
    said = ""
    try:
        said, returned = yield from _write(visit, begin, typed)
    finally:
        try:
            _settle(visit, said)
        finally:
            visit.busy.release()
    yield view(visit, returned)  # whatever the visit has become since: it is free for the next question


def _write(
    visit: Visit, begin: Callable[[ChatSession], tuple[Running, Iterator[str]]], typed: str | None
) -> Generator[ChatView, None, tuple[str, str | None]]:
    """Streams the views of a running answer; returns the notice that follows it and the text for the box."""
    chat = visit.chat
    before = list(chat.turns)
    try:
        running, answer = begin(chat)
        note = notice("info", remarks(chat.model, running.question))
        shown_at = 0.0
        with closing(answer) as deltas:
            yield _progress(visit, running, None if typed is None else "")
            for delta in deltas:
                running = visit.running = replace(running, text=running.text + delta)
                if time.monotonic() - shown_at >= 1 / settings.YIELDS_PER_S:
                    shown_at = time.monotonic()
                    yield view(visit)
    except Exception as error:  # whatever it is, the page must not stay in the middle of an answer
        chat.turns[:] = before
        if not isinstance(error, StudioError):
            chat.reading.forget()  # nobody knows what the caches hold now
        return notice("error", str(explained(error))), typed
    return note, None


def _progress(visit: Visit, running: Running, question: str | None) -> ChatView:
    """The first view of an answer."""
    with visit.lock:
        visit.running, visit.chat_notice = running, ""
        visit.touch("chat")
        return view(visit, question)


def _settle(visit: Visit, said: str = "") -> None:
    """Brings the visit up to date after turns have come or gone: what is said, and what each was answered by.

    A method that decides in the decoder may have made another P.
    """
    with visit.lock:
        visit.running, visit.chat_notice = None, said
        visit.touch("chat")
        if visit.chat is None:
            return
        known = {id(turn): setting for turn, setting in visit.settings_of_turns}
        turns = visit.chat.turns
        visit.settings_of_turns = [(turn, known.get(id(turn)) or _setting(visit)) for turn in turns]
        if visit.decided is not (decided := _decided(visit.chat)):
            visit.decided = decided
            visit.touch("projection")


def _decided(chat: ChatSession) -> Projection | None:
    """P, if an answer has decided it; None where no answer does, or none has."""
    try:
        return chat.projection if chat.prunes_in_decoder else None
    except DecidedInDecoderError:
        return None


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


def _messages(visit: Visit) -> list[dict[str, str]]:
    running = visit.running
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
