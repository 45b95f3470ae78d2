"""The code of README and docs: Python runs, shell commands run, and what cannot run here is at least parsed.

A shell block that is not run says why in its fence: ```bash needs=gpu (or data, download, install, server,
minutes, hours).
"""

import ast
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import griffe
import pytest
from markdown_it import MarkdownIt

from compressor.cli import build_parser, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
REASONS = {"gpu", "data", "download", "install", "server", "minutes", "hours"}
OURS = ("metacompress ", "python -m compressor ")
# commands of other programs, and of ours that have no parser of the command line
OTHERS = (
    "python3 -m venv",
    ".venv/bin/",
    "python app.py",
    "metacompress-studio",
    "python -m compressor.training.bundled",
    "python -m benchmarks.memory",
)


def blocks(language):
    for page in PAGES:
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            words = token.info.split()
            if token.type == "fence" and words[:1] == [language]:
                where = f"{page.relative_to(ROOT)}:{token.map[0] + 1}"
                yield pytest.param(token.content, words[1:], id=where)


def commands(text):
    """The command lines of a block, without comments and with continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [
        line for line in (line.split("  #")[0].strip() for line in lines) if line and not line.startswith("#")
    ]


@pytest.mark.parametrize(("text", "words"), [*blocks("python")])
def test_python_runs(text, words, tmp_path, monkeypatch):
    assert not words
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "documentation", "exec"), {"__name__": "documentation"})


@pytest.mark.parametrize(("text", "words"), [*blocks("bash")])
def test_shell_commands_run_or_are_parsed(text, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reasons = [word.removeprefix("needs=") for word in words]
    assert set(reasons) <= REASONS
    assert commands(text)
    for command in commands(text):
        arguments = own_arguments(command)
        if arguments is None:
            assert reasons and command.startswith(OTHERS), command
        elif reasons:
            build_parser().parse_args(arguments)
        else:
            assert main(arguments) == 0, capsys.readouterr().err


def own_arguments(command):
    """What our command line is given by a line of a shell, or None where it is another program's."""
    if command.startswith("accelerate launch"):
        return shlex.split(command.split(" -m compressor ", 1)[1])
    start = next((start for start in OURS if command.startswith(start)), None)
    return None if start is None else shlex.split(command.removeprefix(start))


def test_every_page_is_linked_and_every_link_leads_somewhere():
    linked = set()
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]:
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            for child in token.children or ():
                target = child.attrGet("href") or child.attrGet("src") or ""
                if target and "://" not in target and not target.startswith("#"):
                    path = (page.parent / target.split("#")[0]).resolve()
                    assert path.exists(), f"{page.name} links to {target}"
                    linked.add(path)
    assert {page for page in PAGES if page.parent.name == "docs"} <= linked


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def table_of_behaviours():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Where things happen")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")][2:]
    return [pytest.param(*(cell.strip() for cell in row[1:]), id=row[0].strip()) for row in rows]


@pytest.mark.parametrize(("file", "function"), table_of_behaviours())
def test_a_behaviour_is_where_the_architecture_page_says(file, function):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_architecture_page_names_ten_behaviours():
    assert len(table_of_behaviours()) >= 10


def test_docstrings_match_their_signatures(caplog):
    """Every argument that a docstring names is one of the function, and every section can be read."""
    with caplog.at_level(logging.WARNING, "griffe"):
        for package in ("compressor", "app"):
            parse_docstrings(griffe.load(package, search_paths=[ROOT], docstring_parser="google"))
    assert [record.getMessage() for record in caplog.records] == []


def parse_docstrings(item):
    """Parses all docstrings below a module or class; what does not match is logged as a warning."""
    for member in item.members.values():
        if not member.is_alias:
            if member.docstring:
                _ = member.docstring.parsed
            parse_docstrings(member)


def test_the_api_reference_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-W", "error", ROOT / "docs" / "build_api.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "compressor.html").read_text(encoding="utf-8")
    assert "ChatSession" in page and "Answer a question" in page
