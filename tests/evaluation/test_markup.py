"""Whatever stands in a cell, a reader of the Markdown, the LaTeX or the JSON gets it back."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from compressor.evaluation.markup import Table

TABLE = Table(("method", "Avg"), (("a_b|c", "95.0 ± 0.7"), ("x", "")), ("All of 100%.",))

# no control characters, no halves of surrogate pairs, and spaces as a renderer would collapse them
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=12).map(lambda t: " ".join(t.split()))
SPECIAL = st.text(r"\|*_`<>[]~&%$#{}^-'ab ✓✗±→×–ℒ", max_size=12).map(lambda t: " ".join(t.split()))
CELLS = st.one_of(TEXT, SPECIAL)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(CELLS, min_size=width, max_size=width).map(tuple),
        st.lists(st.lists(CELLS, min_size=width, max_size=width).map(tuple), max_size=3).map(tuple),
    )
)
COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textasciigrave": "`",
    "textquotesingle": "'",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textendash": "–",
    "checkmark": "✓",
    "times": "×",
    "pm": "±",
    "to": "→",
}
# all that a cell may be made of; a bare special character, or a ligature, is none of it
LATEX = re.compile(
    r"\$\\mathcal\{L\}_\{\\mathrm\{(?P<loss>[a-z]+)\}\}\$"
    r"|\$\\(?P<sign>\w+)\$|\\(?P<name>text\w+)\{\}"
    r"|\{(?P<group>[\[\]*])\}|\\(?P<own>[&%$#_{}])"
    r"|(?P<hyphen>-)(?:\{\}(?=-)|(?!-))|(?P<plain>[^-\\{}$&%#_~^\[\]*`'<>|])"
)


def markdown_cells(text: str) -> list[str]:
    """What a CommonMark parser with GitHub's tables reads: nothing but the text of the cells."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    cells = [token for token in tokens if token.type == "inline"]
    assert all(child.type == "text" for cell in cells for child in cell.children)
    return ["".join(child.content for child in cell.children) for cell in cells]


def latex_text(cell: str) -> str:
    """What LaTeX typesets of a cell."""
    text, place = "", 0
    while place < len(cell):
        found = LATEX.match(cell, place)
        assert found, f"{cell[place:]!r} cannot stand in a cell"
        kind, part = found.lastgroup, found[found.lastgroup]
        text += {"loss": f"ℒ_{part}", "sign": COMMANDS.get(part), "name": COMMANDS.get(part)}.get(kind, part)
        place = found.end()
    return text


def test_markdown_by_hand() -> None:
    assert str(TABLE) == TABLE.to_markdown()
    assert TABLE.to_markdown().splitlines() == [
        "| method | Avg |",
        "| --- | --- |",
        r"| a_b\|c | 95.0 ± 0.7 |",
        "| x |  |",
        "",
        "All of 100%.",
    ]


def test_latex_by_hand() -> None:
    assert TABLE.to_latex().splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"method & Avg \\",
        r"\midrule",
        r"a\_b\textbar{}c & 95.0 $\pm$ 0.7 \\",
        r"x &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par{\footnotesize All of 100\%.}",
    ]
    loss = Table(("ℒ_collapse + Grad Clip",), (("✓",), ("✗",), ("a → b",), ("--",))).to_latex()
    assert r"$\mathcal{L}_{\mathrm{collapse}}$ + Grad Clip \\" in loss
    assert [line for line in loss.splitlines() if "$" in line][1:] == [
        r"$\checkmark$ \\",
        r"$\times$ \\",
        r"a $\to$ b \\",
    ]
    assert "-{}- \\\\" in loss


def test_json_by_hand() -> None:
    assert json.loads(TABLE.to_json()) == {
        "head": ["method", "Avg"],
        "rows": [["a_b|c", "95.0 ± 0.7"], ["x", ""]],
        "notes": ["All of 100%."],
    }


def test_a_line_break_does_not_break_the_table() -> None:
    table = Table(("a\nb",), (("c\r\n| d",),))
    assert table.to_markdown().splitlines() == ["| a b |", "| --- |", r"| c \| d |"]
    assert r"a b \\" in table.to_latex().splitlines()


@given(TABLES)
def test_every_cell_survives_markdown(made) -> None:
    assert markdown_cells(Table(*made).to_markdown()) == [cell for row in (made[0], *made[1]) for cell in row]


@given(TABLES)
def test_every_cell_survives_latex(made) -> None:
    lines = Table(*made).to_latex().split("\n")
    body = [lines[2], *lines[4:-2]]
    assert all(line.endswith(r" \\") for line in body)
    # a cross is typeset as a times sign
    shown = [tuple(cell.replace("✗", "×") for cell in row) for row in (made[0], *made[1])]
    assert [tuple(map(latex_text, line.removesuffix(r" \\").split(" & "))) for line in body] == shown


@given(TABLES)
def test_every_cell_survives_json(made) -> None:
    data = json.loads(Table(*made).to_json())
    assert [tuple(data["head"]), *map(tuple, data["rows"])] == [made[0], *made[1]]
