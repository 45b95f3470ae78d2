"""Builds the API reference from the docstrings into runs/api: `python docs/build_api.py [FOLDER]`."""

import pkgutil
import sys
from pathlib import Path

import pdoc
import pdoc.render
from pdoc.extract import walk_specs

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import app  # noqa: E402 - of this checkout, as is the next one
import compressor  # noqa: E402


def main(folder: Path) -> None:
    """Writes one page per module.

    Args:
        folder: of the pages.
    """
    for name in compressor.__all__:  # imported when first used; pdoc looks only at what is there
        setattr(compressor, name, getattr(compressor, name))
    pdoc.render.configure(docformat="google", footer_text=f"MetaCompress Studio {compressor.__version__}")
    pdoc.pdoc(*module_names(), output_directory=folder)


def module_names() -> list[str]:
    """Names from which pdoc reaches every module once; it does not look into a package that has `__all__`."""
    names: list[str] = []
    reached: set[str] = set()
    for package in (compressor, app):
        modules = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        for name in (package.__name__, *(module.name for module in modules)):
            if name not in reached and not name.endswith("__main__"):
                names.append(name)
                reached.update(walk_specs([name]))
    return names


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "api")
