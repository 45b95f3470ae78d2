"""MetaCompress Studio: `python app.py` opens the page; Gradio's own environment variables are honoured.

STUDIO_MODELS may name directories with checkpoints, separated as in PATH; the page offers them by name.
"""

import os
import sys

from app import settings
from app.allocator import share_freed_memory
from app.interface import build
from app.loading import Shelf, local_models
from app.sessions import VisitStore
from app.theme import STYLE_SHEET, studio_theme
from compressor.errors import InvalidOptionError

store = VisitStore()
try:
    shelf = Shelf(local=local_models(os.environ.get("STUDIO_MODELS", "")), in_use=store.models)
except InvalidOptionError as error:
    sys.exit(str(error))
demo = build(shelf, store)


def main() -> None:
    """Starts loading the first model in the background and serves the page."""
    share_freed_memory()
    shelf.warm(settings.FIRST_MODEL)
    demo.launch(
        theme=studio_theme(),
        css_paths=[STYLE_SHEET],
        max_file_size="10mb",
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        footer_links=[],
    )


if __name__ == "__main__":
    main()
