"""The fields that the columns of the page are made of, in one look each."""

import gradio as gr
from gradio.components import Component

from app import settings
from compressor import Option


def generation_options() -> tuple[Component, ...]:
    """Longest answer, temperature, seed: in the order in which `interface` names them."""
    with gr.Accordion("Generation", open=False):
        longest = gr.Slider(
            1,
            settings.MAX_NEW_TOKENS,
            settings.FIRST_NEW_TOKENS,
            step=1,
            label="Longest answer, tokens",
            buttons=[],
        )
        temperature = gr.Slider(
            0,
            2,
            0,
            step=0.1,
            label="Temperature",
            info="0 always takes the likeliest token.",
            buttons=[],
            elem_id="temperature",
        )
        seed = gr.Number(
            0,
            label="Seed",
            precision=0,
            minimum=0,
            maximum=settings.MAX_SEED,
            info="Matters above temperature 0; if empty, every answer draws anew.",
            elem_id="seed",
        )
    return longest, temperature, seed


def model_option(name: str, option: Option) -> Component:
    """Hidden until a model has it."""
    label, info = option.title, f"{option.description[:1].upper()}{option.description[1:]}."
    if isinstance(option.default, bool):
        return gr.Checkbox(option.default, label=label, info=info, elem_id=name, visible=False)
    return gr.Slider(
        option.minimum,
        option.maximum,
        option.default,
        step=1,
        label=label,
        info=info,
        buttons=[],
        elem_id=name,
        visible=False,
    )


def dropdown(label: str, entries: list[tuple[str, str]], first: str) -> gr.Dropdown:
    """A list of (label, value) entries; its element id is the label."""
    return gr.Dropdown(entries, value=first, label=label, filterable=False, elem_id=label.lower())


def radio(label: str, entries: list[tuple[str, str]], visible: bool = True) -> gr.Radio:
    """A row of (label, value) entries, the first chosen; its element id is the label's first word."""
    name, first = label.split()[0].lower(), entries[0][1]
    return gr.Radio(entries, value=first, label=label, elem_id=name, elem_classes="compact", visible=visible)


def heading(title: str, text: str) -> None:
    """The title of a section, and a line about it."""
    gr.HTML(f"<h2>{title}</h2><p>{text}</p>", elem_classes="section")
