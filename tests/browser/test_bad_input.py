"""A visitor does everything wrong; each time one clear sentence comes back, and chat and picture survive."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.looking import shown, until

EXAMPLES = Path(__file__).resolve().parents[2] / "assets" / "examples"
PHOTO = (EXAMPLES / "coffee.jpg").read_bytes()


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_bomb(side: int) -> bytes:
    """A whole PNG of side x side black pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(9)
    rows = b"".join([squeeze.compress(bytes(1 + side // 8)) for _ in range(side)] + [squeeze.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def upload(page: Page, name: str, data: bytes) -> None:
    kind = "image/" + name.rsplit(".", 1)[1]
    page.locator("#picture input[type=file]").set_input_files(
        {"name": name, "mimeType": kind, "buffer": data}
    )


def ask(page: Page, question: str) -> None:
    page.locator("#question textarea").fill(question)
    page.locator("#ask").click()


BAD_FILES = {
    "text.png": (b"I am no picture", "not a picture"),
    "cut.jpeg": (PHOTO[: len(PHOTO) // 2], "damaged or cut off"),
    "dot.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1 × 1 pixels"),
    "bomb.png": (png_bomb(20_000), "50 megapixels"),
    "large.png": (bytes(11_000_000), "more than 10 MB"),
    "drawing.svg": (
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "not a picture",
    ),
}


def test_bad_files_leave_chat_picture_and_settings(page: Page, app):
    ask(page, "how many objects are there?")
    expect(page.locator("#cost tbody tr")).to_have_count(1)
    picture, overlay = shown(page, "#picture"), shown(page, "#overlay")
    for name, (data, reason) in BAD_FILES.items():
        upload(page, name, data)
        expect(page.locator("#picture-notice [role=alert]")).to_contain_text(reason)
        until(page, lambda: shown(page, "#picture") == picture)
        assert shown(page, "#overlay") == overlay
        expect(page.locator("#chat .user .say")).to_have_count(1)
        ask(page, "is there a cat?")
        expect(page.locator("#cost tbody tr")).to_have_count(2)
        page.locator("#undo").click()
        expect(page.locator("#cost tbody tr")).to_have_count(1)
    page.wait_for_timeout(6_000)  # uploads linger for a few seconds
    assert not [path for path in app.uploads.rglob("*") if path.name in BAD_FILES]


@pytest.mark.parametrize("name", ["cmyk.jpeg", "turned.jpeg", "sixteen.png", "palette.png", "moving.gif"])
def test_unusual_pictures_are_shown(page: Page, name: str):
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = {
        "cmyk.jpeg": encoded(Image.new("CMYK", (60, 40), (0, 255, 255, 0)), "JPEG"),
        "turned.jpeg": encoded(Image.new("RGB", (60, 40), "red"), "JPEG", exif=exif),
        "sixteen.png": encoded(Image.new("I;16", (40, 40), 30_000), "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=0),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
    }[name]
    before = shown(page, "#picture")
    upload(page, name, data)
    expect(page.locator("#picture-notice")).to_contain_text("knows only its own world")
    until(page, lambda: shown(page, "#picture") != before)
    shape = page.locator("#picture img").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert shape == {"cmyk.jpeg": [60, 40], "turned.jpeg": [40, 60]}.get(name, [40, 40])


def test_bad_questions_leave_the_chat(page: Page):
    notice, turns = page.locator("#chat-notice"), page.locator("#cost tbody tr")
    ask(page, "  ")
    expect(notice).to_contain_text("question is empty")
    ask(page, "x" * 100_000)
    expect(notice).to_contain_text("100,000 characters")
    expect(turns).to_have_count(0)
    ask(page, "what <image> color </s> is the cat?")
    expect(turns).to_have_count(1)
    expect(page.locator("#chat .user .say")).to_have_text("what <image> color </s> is the cat?")
    ask(page, "how many zeppelins are there?")
    expect(turns).to_have_count(2)
    expect(notice).to_contain_text("does not know “zeppelins”")
    ask(page, '<img src="http://example.com/a.png" onerror="alert(1)">\n\n# ![](http://example.com/b.png)')
    expect(turns).to_have_count(3)
    assert page.locator("#chat .user img, #chat .user h1").count() == 0
    ask(page, "how many objects are there?")
    expect(turns).to_have_count(4)
    expect(notice).to_be_hidden()


def test_a_large_file_that_is_dropped_leaves_the_picture(page: Page):
    picture = shown(page, "#picture")
    page.locator("#picture img").first.evaluate("""place => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([new Uint8Array(11000000)], "large.png", {type: "image/png"}));
        place.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
    }""")
    expect(page.locator("#picture-notice [role=alert]")).to_contain_text("more than 10 MB")
    assert shown(page, "#picture") == picture


def test_absurd_numbers_are_one_sentence_and_the_question_stays(page: Page):
    page.get_by_text("Generation").click()
    seed, turns = page.locator("#seed input"), page.locator("#cost tbody tr")
    for number in ("1e20", "-5"):
        seed.fill(number)
        ask(page, "how many objects are there?")
        expect(page.locator(".toast-body").last).to_contain_text("Seed: enter a whole number from 0 to")
        page.locator(".toast-close").last.click()
        expect(page.locator(".toast-body")).to_have_count(0)
        expect(page.locator("#question textarea")).to_have_value("how many objects are there?")
        expect(page.locator("#ask")).to_be_enabled()
    seed.fill("")
    page.locator("#ask").click()
    expect(turns).to_have_count(1)
    page.locator("#temperature input[type=number]").fill("")
    ask(page, "is there a cat?")
    expect(turns).to_have_count(2)
    expect(page.locator(".toast-body")).to_have_count(0)


@pytest.mark.parametrize("title", ["LLaVA-1.5 7B", "LLaVA-NeXT 7B", "InternLM-XComposer-2.5 7B"])
def test_a_model_that_is_not_here_explains_itself(page: Page, title: str):
    ask(page, "how many objects are there?")
    expect(page.locator("#cost tbody tr")).to_have_count(1)
    before, picture = page.locator("#model input").input_value(), shown(page, "#picture")
    page.locator("#model input").click()
    page.get_by_role("option", name=title).click()
    expect(page.locator("#picture-notice [role=alert]")).to_contain_text(title, timeout=10_000)
    page.wait_for_timeout(1_500)  # the browser reports a choice twice, and the sentence stays
    expect(page.locator("#picture-notice [role=alert]")).to_contain_text(title)
    expect(page.locator("#model input")).to_have_value(before)
    assert shown(page, "#picture") == picture
    expect(page.locator("#chat .user .say")).to_have_count(1)
    ask(page, "is there a cat?")
    expect(page.locator("#cost tbody tr")).to_have_count(2)


def test_the_page_says_which_models_fit_this_machine(page: Page):
    page.locator("#models-here button").first.click()
    entries = page.locator("#models-here li")
    expect(entries.first).to_contain_text("fits.")
    for title in ("LLaVA-1.5 13B", "random-llava-next", "random-xcomposer"):
        expect(entries.filter(has_text=title).first).to_be_visible()


def test_without_a_picture_the_page_says_what_to_do(page: Page):
    page.get_by_label("Remove Image").click()
    expect(page.locator("#caption")).to_contain_text("Choose a picture")
    ask(page, "how many objects are there?")
    expect(page.locator("#chat-notice [role=alert]")).to_contain_text("no picture")
    page.locator("#new-scene").click()
    expect(page.locator("#overlay img")).to_be_visible()
    ask(page, "how many objects are there?")
    expect(page.locator("#cost tbody tr")).to_have_count(1)
