"""Who may import whom: read from the source, so that the layers keep pointing down."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "errors": set(),
    "options": {"errors"},
    "assets": set(),
    "geometry": {"errors"},
    "dialogues": set(),
    "images": {"errors"},
    "world": {"dialogues", "errors", "assets"},
    "data": {"dialogues", "images", "world", "errors"},
    "tokens": {"geometry", "errors"},
    "projection": {"geometry", "options", "errors"},
    "methods": {"tokens", "projection", "geometry", "options", "errors", "assets"},
    "models": {"tokens", "geometry", "projection", "errors", "assets"},
    "fingerprint": {"models", "dialogues", "errors"},
    "decoding": {"models.base", "errors"},
    "chat": {"decoding", "methods", "models", "options", "projection", "tokens", "errors"},
}
LOWER = set(ALLOWED)
ALLOWED["training"] = ALLOWED["evaluation"] = LOWER
ALLOWED["cli"] = ALLOWED["__main__"] = LOWER | {"training", "evaluation", "cli", ""}
APP = {
    "",
    "errors",
    "assets",
    "geometry",
    "images",
    "projection",
    "world",
    "training.single_image",
    "training.objective",
    "evaluation.accuracy",
    "evaluation.scoring",
    "evaluation.tables",
}
WEB = {"gradio", "plotly", "fastapi", "spaces"}


def imported(path):
    """Dotted names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                inside = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = inside.is_dir() or inside.with_suffix(".py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def within(name, allowed):
    return any(name == each or (each and name.startswith(each + ".")) for each in allowed)


COMPRESSOR = sorted((ROOT / "compressor").rglob("*.py"))


@pytest.mark.parametrize("path", COMPRESSOR, ids=lambda path: str(path.relative_to(ROOT)))
def test_compressor(path):
    package = path.relative_to(ROOT / "compressor").parts[0].removesuffix(".py")
    for name in imported(path):
        head, _, rest = name.partition(".")
        assert head not in WEB | {"app"}, f"{path} imports {name}"
        if head == "compressor" and package != "__init__":
            assert within(rest, ALLOWED[package] | {package}), f"{package} must not import {name}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "app").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_app(path):
    for name in imported(path):
        head, _, rest = name.partition(".")
        if head == "compressor":
            assert within(rest, APP), f"app must not import {name}"


def test_importing_the_package_is_cheap():
    code = "import sys, compressor; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_public_name_is_there():
    import compressor

    assert all(getattr(compressor, name) is not None for name in compressor.__all__)
    with pytest.raises(AttributeError):
        _ = compressor.nothing
