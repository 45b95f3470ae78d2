"""The chat: asking, streaming, stopping, and what is shown of every turn.

Plain functions from a `UserSession` to what the page shows; nothing here knows Gradio. Texts of a visitor
and of a model are escaped in `plain` and nowhere else.
"""

import html
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from app import settings
from app.failures import as_user_error
from app.handlers.remarks import remarks
from app.user_session import Running, UserSession
from compressor import ChatSession, Projection, model_options
from compressor.errors import DecidedInDecoderError, SessionError, StudioError
from compressor.evaluation.scoring import exact_match

BUSY = "An answer is still being written; stop it or wait for its end."
NO_PICTURE = "There is no picture to ask about; choose one, or press New scene."


@dataclass(frozen=True)
class ChatView:
    """What the chat column shows.

    `messages` are Gradio's role/content dictionaries; `question` is the text to put into the input box, None
    to leave it as it is; `running` says that an answer is being written; `version` is that of the session.
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
    role, word = ("alert", "Error") if kind == "error" else ("status", "Note")
    return f'<p class="notice {kind}" role="{role}"><b>{word}:</b> {plain(text)}</p>'


def progress_notice(share: float, sentence: str) -> str:
    """A line that says how far something is: the share that is done, in [0, 1], as a bar."""
    bar = f'<progress max="1" value="{share:.3f}" aria-label="{html.escape(sentence)}"></progress>'
    return f'<p class="notice info">{plain(sentence)}{bar}</p>'


def ask(user: UserSession, question: str, **options: float | None) -> Iterator[ChatView]:
    """Streams the answer to `question`; what cannot be asked gives one view with the reason.

    Args:
        user: the session.
        question: as it was typed.
        **options: passed to `ChatSession.ask` (max_new_tokens, temperature, seed).
    """

    def begin(chat: ChatSession) -> tuple[Running, Iterator[str]]:
        return Running(question, len(chat.turns)), chat.ask(question, **options)

    yield from _stream(user, begin, question)


def regenerate(user: UserSession, **options: float | None) -> Iterator[ChatView]:
    """Streams a new answer to the last question, under the settings that hold now; the input box stays."""

    def begin(chat: ChatSession) -> tuple[Running, Iterator[str]]:
        answer = chat.regenerate(**options)
        return Running(chat.turns[-1].question, len(chat.turns) - 1), answer

    yield from _stream(user, begin, None)


def stop(user: UserSession) -> None:
    """Asks a running answer to end after its current token; the stream itself then shows what was written."""
    if user.chat is not None:
        user.chat.stop()


def undo(user: UserSession) -> ChatView:
    """Takes back the last question and its answer; the question returns to the input box."""
    try:
        with user.interrupting():
            if user.chat is None:
                raise SessionError(NO_PICTURE)
            last = user.chat.turns[-1].question if user.chat.turns else None
            user.chat.undo()
            _record_turns(user)
    except Exception as error:  # noqa: BLE001 - logged; the page needs a view of the present state, whatever it is
        return _refusal(user, str(as_user_error(error)))
    return view(user, question=last)


def clear(user: UserSession) -> ChatView:
    """Forgets all turns; picture and settings stay."""
    try:
        with user.interrupting():
            if user.chat is not None:
                user.chat.clear()
            _record_turns(user)
    except Exception as error:  # noqa: BLE001 - as in `undo`
        return _refusal(user, str(as_user_error(error)))
    return view(user)


def view(user: UserSession, question: str | None = None) -> ChatView:
    """The chat column as it stands, with the answer that is being written, if any."""
    with user.lock:
        turns = user.turns
        suggestions = [] if user.scene is None else user.scene.suggestions(settings.SUGGESTIONS, len(turns))
        return ChatView(
            messages=_messages(user),
            cost=cost_card(user.chat),
            notice=user.chat_notice,
            suggestions=suggestions,
            version=user.versions["chat"],
            question=question,
            running=user.running is not None,
        )


def _refusal(user: UserSession, reason: str, question: str | None = None) -> ChatView:
    """The chat column as it was, and why there is nothing new in it."""
    with user.lock:
        user.chat_notice = notice("error", reason)
        user.mark_changed("chat")
        return view(user, question)


def verdict(user: UserSession, index: int) -> tuple[bool, str] | None:
    """Whether the reply of turn `index` is right, and the true answer; None where the truth is not known."""
    turn = user.turns[index]
    if user.scene is None or turn.stopped:
        return None
    truth = user.scene.answer(turn.question, [earlier.question for earlier in user.turns[:index]])
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
    user: UserSession, begin: Callable[[ChatSession], tuple[Running, Iterator[str]]], typed: str | None
) -> Iterator[ChatView]:
    """Streams one answer while holding the session; whatever ends the stream, the session is free again.

    Args:
        user: the session.
        begin: starts the answer.
        typed: what the input box is given back if there is no answer; None leaves the box alone.
    """
    if user.chat is None:
        yield _refusal(user, NO_PICTURE, typed)
        return
    if not user.busy.acquire(blocking=False):
        yield _refusal(user, BUSY, typed)
        return
    chat, said, returned = user.chat, "", typed
    try:
        if chat is None:  # removed since
            said = notice("error", NO_PICTURE)
        else:
            said, returned = yield from _write(user, chat, begin, typed)
    finally:
        try:
            _record_turns(user, said)
        finally:
            user.busy.release()
    yield view(user, returned)  # whatever the session has become since: it is free for the next question


def _write(
    user: UserSession,
    chat: ChatSession,
    begin: Callable[[ChatSession], tuple[Running, Iterator[str]]],
    typed: str | None,
) -> Generator[ChatView, None, tuple[str, str | None]]:
    """Streams the views of a running answer; returns the notice that follows it and the text for the box."""
    before = list(chat.turns)
    try:
        running, answer = begin(chat)
        note = notice("info", remarks(chat.model, running.question))
        shown_at = 0.0
        with closing(answer) as deltas:  # pyright: ignore[reportArgumentType]  # a generator can be closed
            yield _progress(user, running, None if typed is None else "")
            for delta in deltas:
                running = user.running = replace(running, text=running.text + delta)
                if time.monotonic() - shown_at >= 1 / settings.YIELDS_PER_S:
                    shown_at = time.monotonic()
                    yield view(user)
    except Exception as error:  # noqa: BLE001 - logged; the page must not stay in the middle of an answer
        chat.turns[:] = before
        if not isinstance(error, StudioError):
            chat.prefix_cache.reset()  # nobody knows what the caches hold now
        return notice("error", str(as_user_error(error))), typed
    return note, None


def _progress(user: UserSession, running: Running, question: str | None) -> ChatView:
    """The first view of an answer."""
    with user.lock:
        user.running, user.chat_notice = running, ""
        user.mark_changed("chat")
        return view(user, question)


def _record_turns(user: UserSession, said: str = "") -> None:
    """Updates the session after turns have come or gone: the notice, and the settings of each turn.

    A method that decides in the decoder may have made another P.
    """
    with user.lock:
        user.running, user.chat_notice = None, said
        user.mark_changed("chat")
        if user.chat is None:
            return
        known = {id(turn): setting for turn, setting in user.settings_of_turns}
        turns = user.chat.turns
        user.settings_of_turns = [(turn, known.get(id(turn)) or _setting(user, user.chat)) for turn in turns]
        if user.decided is not (decided := _decided(user.chat)):
            user.decided = decided
            user.mark_changed("projection")


def _decided(chat: ChatSession) -> Projection | None:
    """P, if an answer has decided it; None where no answer does, or none has."""
    try:
        return chat.projection if chat.prunes_in_decoder else None
    except DecidedInDecoderError:
        return None


def _setting(user: UserSession, chat: ChatSession) -> str:
    labels = ["No compression"] if chat.method.name == "none" else [chat.method.label, f"{chat.rate:.0%}"]
    labels.append(f"{chat.image_tokens} of {len(chat.tokens)} image tokens")
    if user.reinserts_separators:
        labels.append("separators reinserted")
    options = model_options()
    for name, value in chat.model.options.items():
        option = options[name]
        if value != option.default:
            labels.append(option.title.lower() if value is True else f"{option.title.lower()}: {value}")
    return " · ".join(labels)


def _messages(user: UserSession) -> list[dict[str, str]]:
    running = user.running
    turns, messages = user.turns, []
    for index, turn in enumerate(turns[: len(turns) if running is None else running.kept]):
        messages.append({"role": "user", "content": _say(turn.question)})
        messages.append({"role": "assistant", "content": _say(turn.answer) + _about(user, index)})
    if running is not None:
        messages.append({"role": "user", "content": _say(running.question)})
        messages.append({"role": "assistant", "content": _say(running.text or "…")})
    return messages


def _say(text: str) -> str:
    return f'<div class="say" dir="auto">{plain(text)}</div>'  # the first strong letter says which way


def _about(user: UserSession, index: int) -> str:
    """The line under a reply: right or wrong in words and a sign, or stopped; and its settings."""
    parts = []
    judged = verdict(user, index)
    if user.turns[index].stopped:
        parts.append('<span class="verdict stopped">◼ Stopped</span>')
    elif judged is not None and judged[0]:
        parts.append('<span class="verdict right">✓ Right</span>')
    elif judged is not None:
        parts.append(f'<span class="verdict wrong">✗ Wrong: it is “{plain(judged[1])}”</span>')
    if index < len(user.settings_of_turns):
        parts.append(f'<span class="setting">{plain(user.settings_of_turns[index][1])}</span>')
    return f'<div class="about">{"".join(parts)}</div>'


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
