"""MetaCompress Studio: `python app.py` opens the page; Gradio's own environment variables are honoured."""

from app import settings
from app.interface import build
from app.loading import Shelf
from app.sessions import VisitStore
from app.theme import STYLE_SHEET, studio_theme

shelf = Shelf()
demo = build(shelf, VisitStore())


def main() -> None:
    """Starts loading the first model in the background and serves the page."""
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
