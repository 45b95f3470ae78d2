"""Starts the page: `metacompress-studio`, or `python app.py`.

Gradio's own environment variables are honoured. STUDIO_MODELS may name directories with checkpoints,
separated as in PATH; the page offers them by name.
"""

import os
import sys

import gradio as gr

from app import settings
from app.allocator import share_freed_memory
from app.model_pool import ModelPool, local_models
from app.page.theme import STYLE_SHEET, studio_theme
from app.page.wiring import build
from app.session_store import SessionStore
from app.uploads import MAX_BYTES
from compressor.errors import InvalidOptionError


def create_page() -> tuple[gr.Blocks, ModelPool]:
    """The page and the models behind it, as the environment variables describe them.

    Raises:
        InvalidOptionError: STUDIO_MODELS names something that is not a directory, or a name twice.
    """
    store = SessionStore()
    pool = ModelPool(local=local_models(os.environ.get("STUDIO_MODELS", "")), in_use=store.models)
    return build(pool, store), pool


def main() -> None:
    """Starts loading the first model in the background and serves the page."""
    try:
        page, pool = create_page()
    except InvalidOptionError as error:
        sys.exit(str(error))
    share_freed_memory()
    pool.warm(settings.FIRST_MODEL)
    page.launch(
        theme=studio_theme(),
        css_paths=[STYLE_SHEET],
        max_file_size=4 * MAX_BYTES,  # what the page did not measure is refused in words by `take_upload`
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        footer_links=[],
    )
