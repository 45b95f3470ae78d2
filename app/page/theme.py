"""Colours, type and style sheet of the page; everything local, nothing fetched."""

from pathlib import Path

from gradio.themes import Base, Color

STYLE_SHEET = Path(__file__).with_name("page.css")

_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

INK = Color(
    name="ink",
    c50="#eef3f9",
    c100="#d9e4f1",
    c200="#b3c9e2",
    c300="#86a9d0",
    c400="#5487bb",
    c500="#2568a5",
    c600="#14558f",
    c700="#0f4474",
    c800="#0c3459",
    c900="#09263f",
    c950="#061a2c",
)
PAPER = Color(
    name="paper",
    c50="#f7f8fa",
    c100="#eef0f4",
    c200="#dfe3ea",
    c300="#c6ccd7",
    c400="#98a1b1",
    c500="#6b7587",
    c600="#515b6d",
    c700="#364054",
    c800="#1c2536",
    c900="#141b29",
    c950="#0d131e",
)


def studio_theme() -> Base:
    """A quiet theme: paper ground, hairlines instead of shadows, one blue."""
    return Base(
        primary_hue=INK,
        secondary_hue=INK,
        neutral_hue=PAPER,
        font=_SANS,
        font_mono=_MONO,
        radius_size="md",
        spacing_size="md",
        text_size="md",
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="#172033",
        body_text_color_dark="#e6eaf2",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="#a3adbf",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="*neutral_950",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#2a3447",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="#a3adbf",
        block_title_text_color="#172033",
        block_title_text_color_dark="#e6eaf2",
        block_title_text_weight="600",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="#a3adbf",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="#364054",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_shadow_focus="0 0 0 2px color-mix(in srgb, *primary_500 35%, transparent)",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_500",
        button_primary_background_fill_hover_dark="*primary_400",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="#263145",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="#364054",
        button_border_width="1px",
        button_secondary_text_color="#172033",
        button_secondary_text_color_dark="#e6eaf2",
    )
