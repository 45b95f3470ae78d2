"""Every method can be chosen, is explained, answers, and shows the projection it used."""

import re

from playwright.sync_api import Page, expect

from compressor import list_methods
from tests.browser.looking import shown, until


def choose(page: Page, title: str) -> None:
    page.locator("#method input").click()
    page.get_by_role("option", name=re.compile(f"^{re.escape(title)}( \\(untrained\\))?$")).click()


def test_every_method_is_walked(page: Page):
    for info in list_methods():
        if info.name == "metacompress":  # chosen already when the page opens
            continue
        before = shown(page, "#overlay")
        choose(page, info.title)
        expect(page.locator("#method")).to_contain_text(info.description)
        if info.stage == "decoder":
            expect(page.locator("#caption")).to_contain_text("ask one first")
        else:
            until(page, lambda before=before: shown(page, "#overlay") != before)
        turns = page.locator("#cost tbody tr").count()
        page.locator("#question textarea").fill("how many objects are there?")
        page.locator("#ask").click()
        expect(page.locator("#cost tbody tr")).to_have_count(turns + 1)
        text = "No compression" if info.name == "none" else f"{info.title} · 90%"
        expect(page.locator("#chat .about").last).to_contain_text(text)
        expect(page.locator("#rate-line .rate")).to_have_text(
            "no compression" if info.name == "none" else "90%"
        )
        columns = 257 if info.name == "visionzip" else 256  # [CLS] is a column
        rows = 256 if info.name == "none" else 26
        expect(page.locator("#caption")).to_contain_text(f"P is {rows} × {columns}")
        assert shown(page, "#overlay")
        read = page.locator("#cost tbody tr").last.locator("td").first
        expect(read).to_have_text(str(rows))
        if info.stage == "decoder":  # the question goes, and what it decided
            page.locator("#undo").click()
            expect(page.locator("#caption")).to_contain_text("P is")
            page.locator("#clear").click()
            expect(page.locator("#caption")).to_contain_text("ask one first")
