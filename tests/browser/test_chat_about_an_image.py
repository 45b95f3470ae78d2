"""A visitor uploads a picture, chats for two turns, moves the rate, and sees what the model reads change."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.looking import shown, until

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"


def heat_map(page: Page) -> list[int]:
    """Rows and columns of the matrix that Plotly holds."""
    return page.evaluate(
        "() => { const d = document.querySelector('.js-plotly-plot').data[0];"
        " const [r, c] = String(d.z.shape ?? '').split(',').map(Number);"
        " return r ? [r, c] : [d.z.length, d.z[0].length]; }"
    )


def left_on_disk(folder: Path) -> list[Path]:
    """Files in the server's upload folder that are not the icons of the page's own buttons."""
    icons = {path.name for path in EXAMPLES.iterdir()}
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in icons]


def budgets(page: Page) -> tuple[int, int]:
    """n and m as the page tells them."""
    text = page.locator("#rate-line b").inner_text()
    return tuple(int(number) for number in re.findall(r"\d+", text))


def ask(page: Page, question: str) -> None:
    turns = page.locator("#cost tbody tr").count()
    page.locator("#question textarea").fill(question)
    page.locator("#ask").click()
    expect(page.locator("#cost tbody tr")).to_have_count(turns + 1)


def set_rate(page: Page, percent: int) -> None:
    """Moves the slider's thumb as a hand on the keyboard does."""
    slider = page.locator("#rate input[type=range]")
    slider.focus()
    while (now := int(float(slider.input_value()))) != percent:
        slider.press("ArrowLeft" if now > percent else "ArrowRight")


def test_two_questions_about_an_upload_and_another_rate(page: Page, app):
    before = shown(page, "#overlay")
    upload = {
        "name": "upload.jpg",
        "mimeType": "image/jpeg",
        "buffer": (EXAMPLES / "rocket.jpg").read_bytes(),
    }
    page.locator("#picture input[type=file]").set_input_files(upload)
    expect(page.locator("#picture-notice")).to_contain_text("knows only its own world")
    until(page, lambda: shown(page, "#overlay") != before)
    n, m = budgets(page)
    assert heat_map(page) == [n, m]

    page.evaluate(
        "() => { window.seen = new Set(); new MutationObserver(() => {"
        " const said = document.querySelectorAll('#chat .bot .say');"
        " if (said.length) window.seen.add(said[said.length - 1].innerText);"
        " }).observe(document.querySelector('#chat'), {subtree: true, childList: true}); }"
    )
    ask(page, "how many objects are there?")
    ask(page, "what color is the background?")
    expect(page.locator("#chat .user .say")).to_have_text(
        ["how many objects are there?", "what color is the background?"]
    )
    answers = page.locator("#chat .bot .say").all_inner_texts()
    assert len(answers) == 2 and all(answers)
    assert "…" in page.evaluate("() => [...window.seen]")  # the answer's place was there before its text
    prefilled = [int(cell) for cell in page.locator("#cost tbody td:nth-child(3)").all_inner_texts()]
    assert prefilled[0] > m > 0 and prefilled[1] < prefilled[0]

    before = shown(page, "#overlay")
    set_rate(page, 50)
    until(page, lambda: shown(page, "#overlay") != before)
    assert budgets(page) == (n, round(n / 2))
    page.wait_for_function(
        f"() => document.querySelector('#caption').innerText.includes('{round(n / 2)} × {n}')"
    )
    assert heat_map(page) == [n, round(n / 2)]
    assert page.locator("#chat .bot .say").count() == 2  # the transcript stays
    ask(page, "is there a cat?")
    assert int(page.locator("#cost tbody tr").nth(2).locator("td").first.inner_text()) == round(n / 2)

    page.wait_for_timeout(6_000)  # the upload lingers for a few seconds
    assert left_on_disk(app.uploads) == []


def test_a_scene_its_suggestions_and_the_verdict(page: Page):
    expect(page.locator("button.suggestion:visible")).to_have_count(4)
    first = page.locator("button.suggestion").first.inner_text()
    page.locator("button.suggestion").first.click()
    expect(page.locator("#cost tbody tr")).to_have_count(1)
    expect(page.locator("#chat .user .say")).to_have_text(first)
    expect(page.locator("#chat .verdict")).to_have_text(re.compile("✓ Right|✗ Wrong: it is “.+”"))
    page.locator("#regenerate").click()
    expect(page.locator("#regenerate")).to_be_enabled()
    expect(page.locator("#chat .user .say")).to_have_count(1)
    page.locator("#undo").click()
    expect(page.locator("#chat .user .say")).to_have_count(0)
    expect(page.locator("#question textarea")).to_have_value(first)
    before = shown(page, "#picture")
    page.locator("#new-scene").click()
    until(page, lambda: shown(page, "#picture") != before)


def test_methods_layouts_and_colours_redraw(page: Page):
    n, m = budgets(page)
    page.locator("#layout label").nth(1).click()
    page.wait_for_function(
        f"() => document.querySelector('.js-plotly-plot').layout.yaxis.range[0] === {m} - 0.5"
    )
    assert heat_map(page) == [m, n]
    before = shown(page, "#overlay")
    page.locator("#colour label").nth(1).click()
    until(page, lambda: shown(page, "#overlay") != before)
    before = shown(page, "#overlay")
    page.locator("#method input").click()
    page.get_by_role("option", name="Sample").click()
    until(page, lambda: shown(page, "#overlay") != before)
    expect(page.locator("#method input")).to_have_value("Sample")
    page.locator("#method input").click()
    page.get_by_role("option", name="None").click()
    expect(page.locator("#rate input[type=range]")).to_be_disabled()
    assert budgets(page) == (n, n)


def test_the_line_follows_the_slider_while_it_moves(page: Page):
    slider = page.locator("#rate input[type=range]")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] / 2, steps=4)
    n, m = budgets(page)
    rate = int(float(slider.input_value()))
    assert rate < 60 and m == max(1, round(n * (1 - rate / 100)))
    page.mouse.up()
    page.wait_for_function(f"() => document.querySelector('#caption').innerText.includes('{m} × {n}')")
    assert heat_map(page) == [n, m]
