"""An image component that keeps a visitor's picture off the disk."""

import base64
import io
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from PIL import Image

UNCHANGED = object()  # as the value of a picture: what the page shows stays


def picture(**options: Any) -> gr.Image:
    """A `gr.Image` that sends pictures inside the message.

    Gradio's own conversion would open an untrusted file before us and leave a copy of every picture in a
    cache folder. So `preprocess` of the events is off (`values.checked` reads them), and `postprocess` is
    replaced on the instance, because Gradio writes a stub file beside the source of every subclass; so change
    such a component by its value only, never by `gr.update` or `gr.skip`, but by `UNCHANGED`.

    Args:
        options: of `gr.Image`.
    """
    component = gr.Image(**options)
    component.postprocess = _inline  # pyright: ignore[reportAttributeAccessIssue]  # see above
    return component


def _inline(value: Image.Image | object | None) -> ImageData | dict[str, Any] | None:
    """The picture as a JPEG data URI."""
    if value is UNCHANGED:
        return gr.skip()
    if not isinstance(value, Image.Image):
        return None
    buffer = io.BytesIO()
    value.save(buffer, "JPEG", quality=88)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return ImageData(url=url, orig_name="picture.jpg", mime_type="image/jpeg")
