"""The heat map: what it shows is P, in the paper's orientation, in a payload that stays small."""

import base64
import json

import gradio as gr
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.figures.heatmap import MAX_CELLS, SCALES, block_shape, caption, cells, heatmap, pool_blocks
from compressor import Projection
from compressor.geometry import PATCH, TokenLayout, join_layouts, llava_layout, xcomposer_layout


def projection(m: int, n: int, seed: int = 0) -> Projection:
    """A noisy softmax, the worst case for a payload."""
    logits = 3 * torch.randn(m, n, generator=torch.Generator().manual_seed(seed))
    layout = TokenLayout(np.full((n, 4), np.nan), np.full(n, PATCH), (10, 10), ())
    return Projection(logits.softmax(1), layout)


def sent(figure) -> dict:
    """The figure as the browser gets it."""
    payload = gr.Plot().postprocess(figure).model_dump()["plot"]
    assert len(json.dumps(payload)) < 300_000
    return json.loads(payload)


def decoded(z: dict) -> np.ndarray:
    assert z["dtype"] == "u1"
    return np.frombuffer(base64.b64decode(z["bdata"]), np.uint8).reshape(
        [int(k) for k in z["shape"].split(",")]
    )


@pytest.mark.parametrize(
    ("m", "n"), [(1, 16), (26, 256), (58, 576), (173, 576), (576, 576), (288, 2880), (864, 2880)]
)
@pytest.mark.parametrize("as_stored", [False, True])
def test_the_payload_is_bytes_under_300_kb_and_decodes_to_the_pooled_matrix(m, n, as_stored):
    p = projection(m, n)
    trace = sent(heatmap(p, as_stored=as_stored, scale="linear"))["data"][0]
    rows, columns = block_shape(m, n)
    pooled = pool_blocks(p.weights, (rows, columns))
    expected = np.rint(100 * pooled / float(p.weights.max())).astype(np.uint8)
    assert np.array_equal(decoded(trace["z"]), expected if as_stored else expected.T)
    dy, dx = (rows, columns) if as_stored else (columns, rows)
    assert (trace["dx"], trace["dy"]) == (dx, dy)
    assert (trace["x0"], trace["y0"]) == ((dx - 1) / 2, (dy - 1) / 2)  # cells lie where their tokens are


def test_matrices_of_the_usual_size_are_drawn_entry_by_entry():
    for m, n in [(26, 256), (58, 576), (173, 576)]:
        assert cells(projection(m, n)).step == (1, 1)


def test_the_default_is_the_papers_figure_with_image_tokens_downwards():
    figure = sent(heatmap(projection(3, 8)))
    assert decoded(figure["data"][0]["z"]).shape == (8, 3)
    layout = figure["layout"]
    assert (
        "image token" in layout["yaxis"]["title"]["text"]
        and "reduced token" in layout["xaxis"]["title"]["text"]
    )
    assert layout["yaxis"]["range"] == [7.5, -0.5] and layout["xaxis"]["range"] == [-0.5, 2.5]
    stored = sent(heatmap(projection(3, 8), as_stored=True))["layout"]
    assert "reduced token" in stored["yaxis"]["title"]["text"] and stored["yaxis"]["range"] == [2.5, -0.5]


@pytest.mark.parametrize("as_stored", [False, True])
def test_a_cell_names_its_tokens_by_the_axes(as_stored):
    figure = sent(heatmap(projection(3, 8), as_stored=as_stored))
    x, y = (figure["layout"][axis]["title"]["text"].split(" (")[0] for axis in ("xaxis", "yaxis"))
    assert figure["data"][0]["hovertemplate"].startswith(f"{y} %{{y}}<br>{x} %{{x}}<br>")


def test_darker_is_more():
    scale = heatmap(projection(3, 8)).data[0].colorscale
    light = [sum(int(colour[k : k + 2], 16) for k in (1, 3, 5)) for _, colour in scale]
    assert light == sorted(light, reverse=True) and scale[0][1] == "#ffffff"


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200), st.integers(0, 5))
def test_pooling_keeps_every_peak_and_the_limit(m, n, limit, seed):
    weights = np.random.default_rng(seed).random((m, n)).astype(np.float32)
    rows, columns = block_shape(m, n, limit)
    pooled = pool_blocks(torch.from_numpy(weights), (rows, columns))
    assert pooled.size <= limit and pooled.max() == weights.max()
    for i in range(pooled.shape[0]):
        for j in range(pooled.shape[1]):
            block = weights[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            assert pooled[i, j] == block.max()


def test_blocks_are_as_square_as_the_matrix_allows():
    assert block_shape(100, 100, 100) == (10, 10)
    assert block_shape(10, 1000, 100) == (1, 100) and block_shape(1000, 10, 100) == (91, 2)
    for m, n in ((864, 2880), (2880, 864)):
        rows, columns = block_shape(m, n)
        ratio = (m / rows) / (n / columns)
        assert max(ratio, 1 / ratio) < 1.45


def test_one_hot_rows_survive_pooling():
    p = projection(864, 2880)
    weights = torch.zeros_like(p.weights)
    weights[torch.arange(864), torch.arange(864) * 3] = 1
    drawn = cells(Projection(weights, p.layout))
    assert drawn.shade.size <= MAX_CELLS and drawn.step != (1, 1)
    assert (drawn.shade == 100).sum() >= drawn.shade.shape[0]


def test_the_scales_are_what_their_names_say():
    weights = torch.tensor([[0.64, 0.36, 0.0], [0.16, 0.04, 0.0]])
    p = Projection(weights, projection(2, 3).layout)
    assert cells(p, "linear").shade.tolist() == [[100, 56, 0], [25, 6, 0]]
    assert cells(p, "sqrt").shade.tolist() == [[100, 75, 0], [50, 25, 0]]
    assert cells(p, "row").shade.tolist() == [[100, 56, 0], [100, 25, 0]]


@pytest.mark.parametrize("scale", SCALES)
def test_the_colour_bar_names_the_weight_of_each_shade(scale):
    p = projection(5, 9)
    bar = heatmap(p, scale=scale).data[0].colorbar
    peak = float(p.weights.max())
    expected = {"linear": peak / 2, "sqrt": peak / 4, "row": 0.5}[scale]
    text = bar.ticktext[list(bar.tickvals).index(50)]
    value = float(text.rstrip("%")) / (100 if scale == "row" else 1)
    assert value == pytest.approx(expected, rel=0.05)


def test_a_matrix_of_zeros_and_a_graph_can_be_drawn():
    p = projection(2, 4)
    assert cells(Projection(torch.zeros(2, 4), p.layout)).shade.max() == 0
    learned = Projection(p.weights.requires_grad_(), p.layout)
    assert heatmap(learned) and caption(learned)


def test_the_caption_tells_size_mixing_and_pooling():
    identity = Projection.identity(projection(1, 8).layout)
    assert "P is 8 × 8" in caption(identity) and "about 1.0 image tokens" in caption(identity)
    assert "88%" in caption(identity) and "Each cell" not in caption(identity)
    small = torch.tensor([[1e-4] * 4 + [1e-7, 0, 0, 1.0]])
    assert "38% of its entries are below 1e-6" in caption(Projection(small, identity.layout))
    uniform = Projection(torch.full((2, 8), 1 / 8), identity.layout)
    assert "about 8.0 image tokens" in caption(uniform)
    assert "Each cell is the largest of" in caption(projection(864, 2880))


@pytest.mark.parametrize(
    ("views", "text"), [(1, "Image token 0 is the"), (3, "Each of the 3 views begins with its [CLS]")]
)
def test_the_caption_tells_of_class_tokens(views, text):
    layout = join_layouts([llava_layout((64, 64), image_size=28).with_cls()] * views)
    assert text in caption(Projection.identity(layout)) and len(layout) == 5 * views


def test_views_and_separators_are_marked():
    layout = xcomposer_layout((80, 60), image_size=56)  # 2 x 2 tokens a tile, each row with its separator
    p = Projection.identity(layout)
    start = layout.grids[1].start
    assert [(line.y0, line.y1) for line in heatmap(p).layout.shapes] == [(start - 0.5, start - 0.5)]
    assert [line.x0 for line in heatmap(p, as_stored=True).layout.shapes] == [start - 0.5]
    text = caption(p)
    assert f"Image tokens 0 to 4 show the whole image, {start} to {len(layout) - 2} its tiles" in text
    rows = sum(grid.rows for grid in layout.grids)
    assert f"{rows} tokens are separators that end a row" in text and "1 parts the whole image" in text


def test_one_grid_without_separators_is_not_marked():
    p = Projection.identity(llava_layout((64, 64), image_size=28))
    assert not heatmap(p).layout.shapes and "separators" not in caption(p) and "tiles" not in caption(p)
