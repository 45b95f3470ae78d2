"""Words that no text of the project may contain, because a reader has to guess what they mean here."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = re.compile(r"\b(shelf|visits?|rested|puts? (\w+ ){0,3}away|told|likest)\b", re.IGNORECASE)
FILES = sorted([*(ROOT / "app").rglob("*.py"), *(ROOT / "compressor").rglob("*.py"), ROOT / "app.py"])
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def texts(path):
    """The strings of a source file with their lines, docstrings and fixed parts of f-strings among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_has_a_forbidden_word(path):
    assert [place for place in texts(path) if FORBIDDEN.search(place[1])] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_page_of_the_documentation_has_a_forbidden_word(path):
    assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["the Shelf", "this visit", "was put away", "put other models away", "he was told"]
)
def test_forbidden_words_are_seen(text):
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["a visitor", "input", "unloaded"])
def test_other_words_are_not(text):
    assert not FORBIDDEN.search(text)
