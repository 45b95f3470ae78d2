"""Builds the API reference from the docstrings into runs/api: `python docs/build_api.py [FOLDER]`."""

import sys
from pathlib import Path

import pdoc
import pdoc.render

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import compressor  # noqa: E402 - of this checkout


def main(folder: Path) -> None:
    """Writes one page per module.

    Args:
        folder: of the pages.
    """
    for name in compressor.__all__:  # imported when first used; pdoc looks only at what is there
        setattr(compressor, name, getattr(compressor, name))
    pdoc.render.configure(docformat="google", footer_text=f"MetaCompress Studio {compressor.__version__}")
    pdoc.pdoc("compressor", "app", output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "api")
