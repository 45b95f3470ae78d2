"""The three columns of the page: their components, and how a view fills them. No events, no decisions."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from app import settings
from app.figures.heatmap import SCALES
from app.figures.views import VIEWS
from app.handlers import choices
from app.handlers.chat import ChatView
from app.handlers.inspector import MatrixView, PatchesView
from app.model_pool import ModelPool
from app.page.fields import dropdown, generation_options, heading, model_option, radio
from app.page.image_input import picture
from app.page.versions import stamp
from compressor import model_options

MASTHEAD = """<header id="masthead">
<svg viewBox="0 0 20 20" aria-hidden="true"><rect x="1" y="1" width="5" height="5"/><rect x="1" y="7.5"
width="5" height="5" opacity=".45"/><rect x="7.5" y="7.5" width="5" height="5"/><rect x="7.5" y="14" width="5"
height="5" opacity=".45"/><rect x="14" y="14" width="5" height="5"/></svg>
<div><h1>MetaCompress Studio</h1>
<p>Chat about a picture while the model reads only m of its n tokens, and see the matrix P between them.</p>
</div></header>"""
PRIVACY = (
    '<p class="fine">Your picture and chat are in this server’s memory only. They are removed about '
    f"{settings.CLOSED_S / 60:.0f} minutes after you close the page, or after {settings.IDLE_S / 60:.0f} "
    "minutes without activity. Nothing is stored beyond that or sent on.</p>"
)


@dataclass(frozen=True)
class ChoicesPane:
    """The left column: picture, model and its options, method, rate, what becomes of separators."""

    picture: gr.Image
    source: gr.Textbox
    new_scene: gr.Button
    too_large: gr.Button
    photographs: dict[str, gr.Button]
    notice: gr.HTML
    model: gr.Dropdown
    shown: dict[str, Component]
    method: gr.Dropdown
    rate: gr.Slider
    rate_line: gr.HTML
    separators: gr.Radio
    options: tuple[Component, ...]
    picture_version: gr.Textbox
    version: gr.Textbox

    def tuning(self) -> list[Component]:
        """The arguments of `choices.set_compression` after session and model pool, in its order."""
        return [self.method, self.rate, self.separators]

    def picture_outputs(self) -> list[Component]:
        """What `picture_values` fills, in its order."""
        return [self.picture, self.source, self.picture_version]

    @staticmethod
    def picture_values(view: choices.PictureView) -> list:
        """A view as values of the outputs."""
        return [view.picture, view.source, stamp(view.version)]

    def outputs(self) -> list[Component]:
        """What `values` fills, in its order."""
        return [
            self.model,
            self.method,
            self.rate_line,
            self.rate,
            self.separators,
            self.notice,
            *self.shown.values(),
            self.version,
        ]

    def values(self, view: choices.ChoicesView) -> list:
        """A view as values of the outputs.

        The slider is written only after a change that failed, or its thumb would jump under the hand.
        """
        back: dict[str, Any] = {} if view.refused_rate is None else {"value": view.refused_rate}
        options = model_options()
        return [
            gr.update(value=view.model, info=view.about_model),
            gr.update(choices=view.methods, value=view.method, info=view.about_method),
            view.rate_line,
            gr.update(interactive=view.rate_matters, **back),
            gr.update(value=view.separators, visible=view.separators_matter),
            view.notice,
            *(
                gr.update(value=view.shown.get(name, options[name].default), visible=name in view.shown)
                for name in self.shown
            ),
            stamp(view.version),
        ]


@dataclass(frozen=True)
class ChatPane:
    """The middle column: the chat and what it costs."""

    chatbot: gr.Chatbot
    notice: gr.HTML
    suggestions: tuple[gr.Button, ...]
    question: gr.Textbox
    ask: gr.Button
    stop: gr.Button
    regenerate: gr.Button
    undo: gr.Button
    clear: gr.Button
    cost: gr.HTML
    version: gr.Textbox

    def outputs(self) -> list[Component]:
        """What `values` fills, in its order."""
        buttons = [self.ask, self.stop, self.regenerate, self.undo, self.clear]
        shown = [self.chatbot, self.cost, self.notice, self.question, *buttons, *self.suggestions]
        return [*shown, self.version]

    @staticmethod
    def values(view: ChatView) -> list:
        """A view as values of the outputs."""
        settled = bool(view.messages) and not view.running
        switches = [not view.running, view.running, settled, settled, settled]
        texts = view.suggestions + [""] * (settings.SUGGESTIONS - len(view.suggestions))
        return [
            view.messages,
            view.cost,
            view.notice,
            gr.skip() if view.question is None else view.question,
            *(gr.update(interactive=switch) for switch in switches),
            *(gr.update(value=text, visible=bool(text), interactive=not view.running) for text in texts),
            stamp(view.version),
        ]


@dataclass(frozen=True)
class InspectorPane:
    """The right column: the projection on the picture and as a matrix."""

    overlay: gr.Image
    legend: gr.HTML
    shown: gr.Radio
    colouring: gr.Radio
    heatmap: gr.Plot
    caption: gr.HTML
    layout: gr.Radio
    scale: gr.Radio
    patches_version: gr.Textbox
    matrix_version: gr.Textbox

    def patches_inputs(self) -> list[Component]:
        """The arguments of `inspector.patches` after the session, in its order."""
        return [self.colouring, self.shown]

    def matrix_inputs(self) -> list[Component]:
        """The arguments of `inspector.matrix` after the session, in its order."""
        return [self.layout, self.scale]

    def patches_outputs(self) -> list[Component]:
        """What `patches_values` fills, in its order."""
        return [self.overlay, self.legend, self.shown, self.patches_version]

    @staticmethod
    def patches_values(view: PatchesView) -> list:
        """A view as values of the outputs."""
        return [view.overlay, view.legend, gr.update(visible=view.tiled), stamp(view.version)]

    def matrix_outputs(self) -> list[Component]:
        """What `matrix_values` fills, in its order."""
        return [self.heatmap, self.caption, self.matrix_version]

    @staticmethod
    def matrix_values(view: MatrixView) -> list:
        """A view as values of the outputs."""
        return [view.figure, view.caption, stamp(view.version)]


def choices_pane(pool: ModelPool) -> ChoicesPane:
    """Draws the left column for the models on the model pool."""
    heading("Picture", "Upload or paste an image, generate a scene, or pick a sample photo.")
    frame = picture(
        label="Picture",
        show_label=False,
        elem_id="picture",
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        height=300,
        alt_text="The picture you chat about",
    )
    source = gr.Textbox("scene:", visible=False)  # what the page starts again with, see `restart.resume`
    with gr.Row(elem_id="examples"):
        new_scene = gr.Button("New scene", size="sm", elem_id="new-scene")
        photographs = {
            word: gr.Button(word, icon=path, size="sm", elem_classes="photograph")
            for word, path in settings.PHOTOGRAPHS.items()
        }
    too_large = gr.Button(visible="hidden", elem_id="too-large")  # the page presses it, see `REFUSE_LARGE`
    notice = gr.HTML(elem_id="picture-notice")
    with gr.Group():
        model = dropdown("Model", choices.model_choices(pool), settings.FIRST_MODEL)
        shown = {name: model_option(name, option) for name, option in model_options().items()}
        method = dropdown("Method", choices.method_choices(), settings.FIRST_METHOD)
        rate = gr.Slider(
            0, 99, settings.FIRST_RATE, step=1, label="Compression rate", buttons=[], elem_id="rate"
        )
        rate_line = gr.HTML(elem_id="rate-text")
    separators = radio(
        "Separators", [("Compressed like patches", "compress"), ("Put back as they are", "reinsert")], False
    )
    with gr.Accordion("Which models fit this machine", open=False, elem_id="models-here"):
        gr.HTML(choices.models_here(pool))
    options = generation_options()
    gr.HTML(PRIVACY)
    return ChoicesPane(
        frame,
        source,
        new_scene,
        too_large,
        photographs,
        notice,
        model,
        shown,
        method,
        rate,
        rate_line,
        separators,
        options,
        _version("picture"),
        _version("choices"),
    )


def chat_pane() -> ChatPane:
    """Draws the middle column."""
    heading("Chat", "All turns share the same m image tokens; follow-ups only add their own text.")
    chatbot = gr.Chatbot(
        label="Chat",
        show_label=False,
        elem_id="chat",
        height=440,
        layout="bubble",
        buttons=[],
        latex_delimiters=[],
        feedback_options=None,
        placeholder="### Ask about the picture\nThen raise the compression rate and regenerate.",
    )
    notice = gr.HTML(elem_id="chat-notice")
    with gr.Row(elem_id="suggestions"):
        suggestions = tuple(
            gr.Button(visible=False, size="sm", elem_classes="suggestion")
            for _ in range(settings.SUGGESTIONS)
        )
    with gr.Row(elem_id="asking"):
        question = gr.Textbox(
            label="Question",
            show_label=False,
            container=False,
            placeholder="Ask about the picture",
            lines=1,
            max_lines=5,
            scale=5,
            elem_id="question",
        )
        ask = gr.Button("Ask", variant="primary", scale=0, min_width=88, elem_id="ask")
    with gr.Row(elem_id="chat-actions"):
        stop, regenerate, undo, clear = (
            gr.Button(word, size="sm", interactive=False, elem_id=word.split()[0].lower())
            for word in ("Stop", "Regenerate", "Undo", "Clear chat")
        )
    cost = gr.HTML(elem_id="cost")
    version = _version("chat")
    return ChatPane(chatbot, notice, suggestions, question, ask, stop, regenerate, undo, clear, cost, version)


def inspector_pane() -> InspectorPane:
    """Draws the right column."""
    heading("What the model reads", "Every patch of the picture, by what the projection does with it.")
    overlay = picture(
        label="Overlay",
        show_label=False,
        elem_id="overlay",
        interactive=False,
        buttons=["fullscreen"],
        height=330,
        alt_text="The picture with its patches marked as kept, merged or pruned; the numbers are below",
    )
    legend = gr.HTML(elem_id="legend")
    shown = radio("View", [(label, name) for name, label in VIEWS.items()], False)
    colouring = radio(
        "Colour patches by", [("Kept, merged, pruned", "roles"), ("Total weight (column sum)", "retention")]
    )
    heading("Projection P", "The darker a cell, the more of an image token a reduced token takes.")
    heatmap = gr.Plot(label="Projection P", show_label=False, elem_id="heatmap")
    caption = gr.HTML(elem_id="caption")
    layout = radio("Layout", [("n × m, as in the paper", "paper"), ("m × n", "stored")])
    scale = radio("Shade", [(label, name) for name, label in SCALES.items()])
    versions = _version("patches"), _version("matrix")
    return InspectorPane(overlay, legend, shown, colouring, heatmap, caption, layout, scale, *versions)


def _version(part: str) -> gr.Textbox:
    """Unseen: the version of what the page shows in this part, see `refresh`."""
    return gr.Textbox("", label="Version", visible="hidden", elem_id=f"{part}-version")
