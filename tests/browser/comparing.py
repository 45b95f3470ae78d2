"""What a page shows and what the server would have it show, in the same words."""

import html
import re
from typing import Any

from playwright.sync_api import Page

from app.handlers import chat, choices, inspector
from app.model_pool import ModelPool
from app.page.image_input import picture
from app.user_session import UserSession
from tests.browser.looking import fingerprint

BUTTONS = ("ask", "stop", "regenerate", "undo", "clear")
READ = """() => {
  const text = (place) => (document.querySelector(place)?.innerText ?? "").replace(/\\s+/g, " ").trim();
  const texts = (place) => [...document.querySelectorAll(place)]
    .filter((each) => each.offsetParent !== null)
    .map((each) => each.innerText.replace(/\\s+/g, " ").trim());
  const source = (place) => document.querySelector(place + " img")?.getAttribute("src") ?? "";
  const chosen = (place) => document.querySelector(place + " input:checked")?.value;
  const drawn = document.querySelector("#heatmap .js-plotly-plot");
  return {
    said: texts("#chat .say"), about: texts("#chat .about"), notice: text("#chat-notice"),
    costs: document.querySelectorAll("#cost tbody tr").length, suggestions: texts("button.suggestion"),
    enabled: BUTTONS.filter((name) => !document.getElementById(name).disabled),
    picture: source("#picture"), problem: text("#picture-notice"), line: text("#rate-line"),
    rate: Number(document.querySelector("#rate input[type=range]").value),
    model: document.querySelector("#model input").value,
    method: document.querySelector("#method input").value,
    overlay: source("#overlay"), caption: text("#caption"), plotted: drawn !== null,
    drawing: [chosen("#colour"), chosen("#layout"), chosen("#shade")],
  };
}""".replace("BUTTONS", str(list(BUTTONS)))


def page_state(page: Page) -> dict[str, Any]:
    """What the page shows."""
    state = page.evaluate(READ)
    return state | {name: fingerprint(state[name]) for name in ("picture", "overlay")}


def server_state(user: UserSession, pool: ModelPool, drawing: list[str]) -> dict[str, Any]:
    """What the page should show.

    Args:
        user: the session.
        pool: where models come from.
        drawing: the chosen colouring, layout and shade.
    """
    with user.lock:
        left, middle = choices.view(user, pool), chat.view(user)
        patches = inspector.patches(user, drawing[0])
        matrix = inspector.matrix(user, *drawing[1:])
        settled = bool(middle.messages) and not middle.running
        enabled = [not middle.running, middle.running, settled, settled, settled]
        titles = {value: label for label, value in choices.model_choices(pool)}
        methods = {value: label for label, value in left.methods}
        return {
            "said": [_texts(message["content"], "say") for message in middle.messages],
            "about": [_texts(message["content"], "about") for message in middle.messages[1::2]],
            "notice": _bare(middle.notice),
            "costs": 0 if user.chat is None else len(user.chat.turns),
            "suggestions": middle.suggestions,
            "enabled": [name for name, on in zip(BUTTONS, enabled, strict=True) if on],
            "picture": _sent(user.image),
            "problem": _bare(left.notice),
            "line": _bare(left.rate_line),
            "rate": round(user.rate * 100),
            "model": titles[left.model],
            "method": methods[left.method],
            "overlay": _sent(patches.overlay),
            "caption": _bare(matrix.caption),
            "plotted": matrix.figure is not None,
            "drawing": drawing,
        }


def differences(shown: dict[str, Any], right: dict[str, Any]) -> dict[str, tuple]:
    """What a page shows and what it should show, where they differ."""
    return {name: (shown[name], right[name]) for name in right if shown[name] != right[name]}


def _texts(source: str, kind: str) -> str:
    found = re.search(rf'<div class="{kind}"[^>]*>(.*?)</div>', source)
    return _bare(found[1]) if found else ""


def _bare(source: str) -> str:
    """The text of HTML, with single spaces."""
    text = html.unescape(re.sub(r"<[^>]*>", "", source.replace("<br>", " ").replace("</span>", "</span> ")))
    return re.sub(r"\s+", " ", text).strip()


def _sent(image: Any) -> str:
    return fingerprint("" if image is None else picture(render=False).postprocess(image).url)
