"""The right column shows the session's own projection, and what it shows changes with it."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from app.handlers import chat, choices, inspector
from app.user_session import UserSession
from compressor import ChatSession


def view_of(user, colouring="roles", layout="paper", scale="sqrt", shown="whole") -> SimpleNamespace:
    """Both parts of the column as one."""
    patches, matrix = inspector.patches(user, colouring, shown), inspector.matrix(user, layout, scale)
    return SimpleNamespace(**vars(patches) | vars(matrix))


def test_without_a_picture_there_is_a_next_step():
    view = view_of(UserSession())
    assert view.overlay is None and view.figure is None and "Choose a picture" in view.caption


def test_figure_and_overlay_are_drawn_from_the_sessions_projection(user, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        inspector, "overlay", lambda projection, image, *drawing: drawn.append((projection, image))
    )
    monkeypatch.setattr(
        inspector, "heatmap", lambda projection, **options: drawn.append((projection, options))
    )
    view_of(user, "roles", "stored", "row")
    assert drawn == [
        (user.chat.projection, user.image),
        (user.chat.projection, {"as_stored": True, "scale": "row"}),
    ]


def test_what_the_decoder_decides_shows_with_the_answer(user, pool):
    choices.set_compression(user, pool, "fastv", 75)
    before = view_of(user)
    assert before.overlay is None and before.figure is None and "ask one first" in before.caption
    list(chat.ask(user, "is it red", max_new_tokens=2))
    after = view_of(user)
    assert after.figure is not None and after.overlay is not None
    assert user.chat.projection.m == 4


@pytest.mark.parametrize("take_back", [chat.undo, chat.clear])
def test_what_a_question_decided_goes_with_it(user, pool, take_back):
    choices.set_compression(user, pool, "fastv", 75)
    list(chat.ask(user, "is it red", max_new_tokens=2))
    first, version = user.chat.projection, user.versions["projection"]
    list(chat.ask(user, "is it blue", max_new_tokens=2))
    chat.undo(user)
    assert user.chat.projection is first and user.versions["projection"] == version
    take_back(user)
    view = view_of(user)
    assert view.figure is None and "ask one first" in view.caption and view.overlay is None
    assert user.versions["projection"] > version


@pytest.mark.parametrize("change", [("sample", 90), ("metacompress", 50), ("none", 90)])
def test_both_change_with_method_and_rate_without_an_answer(user, pool, change):
    before = view_of(user)
    choices.set_compression(user, pool, *change)
    after = view_of(user)
    assert user.chat.turns == []
    assert not np.array_equal(before.overlay, after.overlay)
    assert before.figure.data[0].z.shape != after.figure.data[0].z.shape or not np.array_equal(
        before.figure.data[0].z, after.figure.data[0].z
    )


def test_the_legend_follows_the_method(user, pool):
    legends = set()
    for method in ("sample", "metacompress", "none"):
        choices.set_compression(user, pool, method, 50)
        legends.add(view_of(user).legend)
    assert len(legends) == 3


def test_the_legend_counts_every_token_once(user, pool):
    choices.set_compression(user, pool, "sample", 75)
    counts = [int(count) for count in re.findall(r"<b>(\d+)</b>", view_of(user).legend)]
    assert counts == [4, 0, 12]


def test_the_switches_change_the_drawing(user):
    first = view_of(user)
    assert not np.array_equal(first.overlay, view_of(user, "retention").overlay)
    assert first.figure.data[0].z.shape == view_of(user, layout="stored").figure.data[0].z.shape[::-1]
    assert not np.array_equal(first.figure.data[0].z, view_of(user, scale="linear").figure.data[0].z)


def counts(legend: str) -> list[int]:
    return [int(count) for count in re.findall(r"<b>(\d+)</b>", legend)]


def outside(legend: str) -> dict[str, int]:
    """Tokens of each kind that the drawing leaves out."""
    lines = re.findall(r"([\w\[\]]+), outside of the picture: ([^.]*)\.", legend)
    return {name: sum(map(int, re.findall(r"\d+", text))) for name, text in lines}


@pytest.fixture(params=["next_model", "xcomposer"])
def tiled(request, image):
    """A visitor with a model that cuts the picture into tiles."""
    model = request.getfixturevalue(request.param)
    image = image.resize((320, 240))
    return UserSession(image=image, chat=ChatSession(model, image, "sample", 0.9))


@pytest.mark.parametrize("method", ["sample", "visionzip", "fastv"])
def test_the_legend_counts_the_view_that_is_drawn(tiled, method):
    tiled.chat.configure(method)
    list(tiled.chat.ask("is it red", max_new_tokens=1))
    layout = tiled.chat.projection.layout
    seen = ~np.isnan(layout.boxes[:, 0])
    whole, *tiles = (grid.indices().reshape(-1) for grid in layout.grids)
    drawn = {view: view_of(tiled, shown=view) for view in ("whole", "tiles")}
    sizes = {"whole": int(seen[whole].sum()), "tiles": int(seen[np.concatenate(tiles)].sum())}
    for view, size in sizes.items():
        assert drawn[view].tiled and sum(counts(drawn[view].legend)) == size
        assert f"Counted: the {size} patches" in drawn[view].legend
    assert sum(sizes.values()) + sum(outside(drawn["whole"].legend).values()) == len(layout)
    assert not np.array_equal(drawn["whole"].overlay, drawn["tiles"].overlay)


def test_padding_is_counted_by_itself(pool):
    user = UserSession()
    choices._start(user, pool, Image.new("RGB", (80, 20)), None, model="tiny")  # the middle two of four rows
    choices.set_compression(user, pool, "sample", 75)
    legend = view_of(user).legend
    assert counts(legend) == [2, 0, 6] and outside(legend) == {"Padding": 8}
    choices.set_compression(user, pool, "none", 0)
    assert "Padding, outside of the picture: 8 kept." in view_of(user).legend


def test_a_model_without_tiles_has_one_view(user):
    whole, tiles = (view_of(user, shown=view) for view in ("whole", "tiles"))
    assert not whole.tiled and np.array_equal(whole.overlay, tiles.overlay) and whole.legend == tiles.legend
    assert "Counted" not in whole.legend
