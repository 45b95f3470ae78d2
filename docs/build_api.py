"""Builds the API reference from the docstrings into runs/api: `python docs/build_api.py [FOLDER]`."""

import pkgutil
import sys
from pathlib import Path

import pdoc
import pdoc.render

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
    modules = [
        module.name
        for package in (compressor, app)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    ]
    pdoc.pdoc("compressor", "app", *modules, output_directory=folder)  # a package with __all__ hides modules


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "api")
