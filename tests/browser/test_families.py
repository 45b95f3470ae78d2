"""A checkpoint of each family, offered by its directory, chats in the page, and its tiles are drawn right."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from app.figures.overlay import overlay
from app.figures.views import patches_of
from app.settings import PHOTOGRAPHS
from app.uploads import clean_image
from compressor import ChatSession, load_model
from tests.browser.looking import shown, until

COLOURS = ((200, 40, 40), (40, 160, 60), (50, 80, 210), (230, 200, 40))  # of the quarters
SIZE = (336, 224)


def quarters() -> Image.Image:
    """A picture whose quarters differ in colour."""
    image = Image.new("RGB", SIZE)
    width, height = SIZE[0] // 2, SIZE[1] // 2
    for index, colour in enumerate(COLOURS):
        image.paste(colour, (index % 2 * width, index // 2 * height, *_corner(index, width, height)))
    return image


def _corner(index: int, width: int, height: int) -> tuple[int, int]:
    return (index % 2 + 1) * width, (index // 2 + 1) * height


def choose(page: Page, box: str, entry: str) -> None:
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=re.compile(f"^{re.escape(entry)}( \\(untrained\\))?$")).click()


def open_quarters(page: Page, model: str) -> None:
    """Chooses the model and uploads the picture, with a method that does not depend on weights."""
    choose(page, "method", "Sample")
    expect(page.locator("#method")).to_contain_text("every k-th token")
    choose(page, "model", model)
    expect(page.locator("#model")).to_contain_text("A checkpoint on this machine")
    expect(page.locator("#caption")).not_to_contain_text("× 256")  # of the bundled model
    page.wait_for_timeout(500)  # a picture that is chosen while another is being put in its place is lost
    before, buffer = shown(page, "#overlay"), io.BytesIO()
    quarters().save(buffer, "PNG")
    page.locator("#picture input[type=file]").set_input_files(
        {"name": "quarters.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    )
    until(page, lambda: shown(page, "#overlay") != before)


def drawn(page: Page) -> np.ndarray:
    """The overlay as the page holds it."""
    source = page.locator("#overlay img").first.get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))), dtype=float)


def ask(page: Page, question: str) -> None:
    turns = page.locator("#cost tbody tr").count()
    page.locator("#question textarea").fill(question)
    page.locator("#ask").click()
    expect(page.locator("#cost tbody tr")).to_have_count(turns + 1)


@pytest.fixture(params=["checkpoint", "next_checkpoint", "xcomposer_checkpoint"])
def directory(request):
    """Of a saved checkpoint of each family."""
    return request.getfixturevalue(request.param)


def test_a_local_checkpoint_of_each_family_chats(page: Page, directory):
    open_quarters(page, directory.name)
    ask(page, "How many cats are there?")
    ask(page, "What color is the dog?")
    session = ChatSession(load_model(directory, device="cpu"), quarters(), method="sample", rate=0.9)
    m, n = session.projection.m, session.projection.n
    expect(page.locator("#caption")).to_contain_text(f"P is {m} × {n}")
    expect(page.locator("#cost tbody tr").last.locator("td").first).to_have_text(str(m))
    grids = session.projection.layout.grids
    assert page.evaluate("() => (document.querySelector('.js-plotly-plot').layout.shapes || []).length") == (
        len(grids) - 1
    )
    views = {"whole": "Whole image", "tiles": "Tiles"} if len(grids) > 1 else {}
    expect(page.locator("#view")).to_have_count(1 if views else 0)
    for view, label in views.items():
        page.locator("#view").get_by_text(label, exact=True).click()
        count = len(patches_of(session.projection.layout, view))
        expect(page.locator("#legend")).to_contain_text(f"Counted: the {count} patches")
        expected = np.asarray(overlay(session.projection, quarters(), "roles", view), dtype=float)
        until(page, lambda expected=expected: np.abs(drawn(page) - expected).mean() < 3)  # but for JPEG


def test_the_middle_square_alone(page: Page):
    """With the Hub's own crop the overlay covers the middle, and the rest is washed out."""
    page.get_by_role("button", name="Coffee").click()
    expect(page.locator("#picture-notice")).to_contain_text("knows only its own world")
    before = shown(page, "#overlay")
    page.get_by_label("Middle square only").check()
    until(page, lambda: shown(page, "#overlay") != before)
    photograph = clean_image(PHOTOGRAPHS["Coffee"].read_bytes())
    session = ChatSession(load_model("tiny", device="cpu", crop=True), photograph)
    expected = np.asarray(overlay(session.projection, photograph), dtype=float)
    until(page, lambda: np.abs(drawn(page) - expected).mean() < 3)  # but for JPEG
    ask(page, "How many cats are there?")
    expect(page.locator("#chat .setting")).to_contain_text("middle square only")
