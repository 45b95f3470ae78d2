"""A table of text cells, written as Markdown, LaTeX or JSON."""

import json
import re
from dataclasses import dataclass

# what a Markdown renderer would read as markup; an underscore only where it is not inside a word
_MARKDOWN = re.compile(r"[\\|*`<\[\]~&$]|(?<![^\W_])_|_(?![^\W_])")
# TeX's own characters, those that make ligatures, and brackets and stars, which a \\ before them takes
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "–": r"\textendash{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    **{sign: "{" + sign + "}" for sign in "[]*"},
}


@dataclass(frozen=True)
class Table:
    """A head and rows of as many cells, all plain text, with notes below.

    Args:
        head: of the columns.
        rows: of cells; an empty one says that there is nothing to say.
        notes: sentences to stand below the table.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """A pipe table of GitHub's Markdown, the notes below it."""
        head, *body = [[_markdown(cell) for cell in row] for row in (self.head, *self.rows)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]
        return "\n".join(lines + [f"\n{_markdown(note)}" for note in self.notes])

    def to_latex(self) -> str:
        """A tabular for LaTeX with the packages booktabs and amssymb, the notes below it."""
        head, *body = [" & ".join(map(_latex, cells)) + r" \\" for cells in (self.head, *self.rows)]
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{self._alignment()}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                *[rf"\par{{\footnotesize {_latex(note)}}}" for note in self.notes],
            ]
        )

    def to_json(self) -> str:
        """An object with "head", "rows" and "notes", the cells as text."""
        data = {"head": self.head, "rows": self.rows, "notes": self.notes}
        return json.dumps(data, indent=1, ensure_ascii=False)

    def __str__(self) -> str:
        return self.to_markdown()

    def _alignment(self) -> str:
        """Numbers to the right, text to the left."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.head))]
        return "".join("r" if all(not c or c[0].isdigit() for c in cells) else "l" for cells in columns)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(lambda match: "\\" + match[0], _one_line(text))


def _latex(text: str) -> str:
    """Escaped text; a loss term ℒ_name becomes a formula, and no two hyphens become a dash."""

    def escape(match: re.Match) -> str:
        if match["term"]:
            return rf"$\mathcal{{L}}_{{\mathrm{{{match['term']}}}}}$"
        return "-{}" if match["hyphen"] else _LATEX.get(match[0], match[0])

    return re.sub(r"ℒ_(?P<term>[a-z]+)|(?P<hyphen>-)(?=-)|.", escape, _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
