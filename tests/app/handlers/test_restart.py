"""A new visit takes over the settings that its page held, if they are valid."""

import pytest
from PIL import Image

from app import user_session
from app.handlers import choices, restart
from app.model_pool import Shelf
from app.user_session import Visit
from compressor import model_options
from compressor.errors import ModelUnavailableError, StudioError
from compressor.world.scenes import HELD_OUT

SHOWN = tuple(option.default for option in model_options().values())
VALID = {
    "source": f"scene:{HELD_OUT + 7}",
    "model": "tiny",
    "method": "sample",
    "percent": 75,
    "separators": "reinsert",
}


def resume(shelf, shown=SHOWN, **changes):
    """A new visit after `restart.resume`."""
    visit = Visit()
    restart.resume(visit, shelf, *(VALID | changes).values(), *shown)
    return visit


def test_a_visit_goes_on_where_its_page_stands(shelf):
    visit = resume(shelf)
    assert visit.scene.seed == HELD_OUT + 7 and visit.source == VALID["source"]
    assert (visit.model, visit.method, visit.rate, visit.separators) == ("tiny", "sample", 0.75, "reinsert")
    assert visit.chat.rate == 0.75 and visit.chat.method.name == "sample" and visit.wanted is None


def test_a_photograph_comes_back_and_an_upload_does_not(shelf):
    assert resume(shelf, source="photograph:Cat").source == "photograph:Cat"
    visit = resume(shelf, source="upload")
    assert visit.image is None and visit.chat is None and visit.method == "sample" and visit.source == ""


def test_a_page_that_never_had_a_picture_gets_a_scene(shelf):
    assert resume(shelf, source="scene:").scene.seed >= HELD_OUT


def test_the_source_follows_the_picture(shelf, visit, tmp_path):
    assert visit.source == "scene:7"
    choices.photograph(visit, shelf, "Coffee")
    choices.show(visit, shelf, *SHOWN)
    assert visit.source == choices.picture(visit).source == "photograph:Coffee"
    path = tmp_path / "upload.png"
    Image.new("RGB", (40, 40), "teal").save(path)
    choices.upload(visit, shelf, str(path))
    assert visit.source == "upload"
    choices.remove_picture(visit, shelf)
    assert visit.source == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"source": source}
        for source in (
            "scene:7",  # a training scene
            f"scene:{2 * HELD_OUT}",
            "scene:-1000000007",
            "scene:1000000007 ",
            "scene:" + "9" * 5000,
            "photograph:../cat",
            "photograph:",
            "another",
            None,
            7,
            [],
        )
    ]
    + [{"method": method} for method in ("unknown", None, ["sample"])]
    + [{"percent": percent} for percent in (100, -1, float("nan"), 1e400, None, "50", True)]
    + [{"separators": "drop"}, {"separators": None}, {"separators": []}]
    + [{"shown": ()}, {"shown": (*SHOWN, True)}, {"shown": ("x",) * len(SHOWN)}, {"model": "../tiny"}]
    + [{"model": None}],
)
def test_settings_that_no_page_has_are_refused_and_the_visit_is_new(shelf, changes):
    visit = Visit()
    values = VALID | {name: value for name, value in changes.items() if name != "shown"}
    with pytest.raises(StudioError):
        restart.resume(visit, shelf, *values.values(), *changes.get("shown", SHOWN))
    now, new = vars(visit), vars(Visit())
    assert all(now[name] == new[name] for name in now if name not in user_session.LASTING)


def test_a_model_that_cannot_be_loaded_any_more_leaves_a_new_visit(model):
    def load(name, progress):
        raise ModelUnavailableError("It needs 14 GB.")

    visit = Visit()
    with pytest.raises(ModelUnavailableError):
        restart.resume(visit, Shelf(load), *VALID.values(), *SHOWN)
    assert visit.method == Visit().method and visit.image is None


def test_a_method_that_cannot_compress_the_picture_leaves_a_new_visit(shelf):
    visit = Visit()
    with pytest.raises(StudioError, match="PruMerge"):  # 16 patches are too few for it
        restart.resume(visit, shelf, *(VALID | {"method": "prumerge"}).values(), *SHOWN)
    assert visit.method == Visit().method and visit.image is None and visit.rate == Visit().rate
