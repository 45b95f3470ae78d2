"""A new user session takes over the settings that its page held, if they are valid."""

import pytest
from PIL import Image

from app import user_session
from app.handlers import choices, restart
from app.model_pool import ModelPool
from app.user_session import UserSession
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


def resume(pool, shown=SHOWN, **changes):
    """A new user session after `restart.resume`."""
    user = UserSession()
    restart.resume(user, pool, *(VALID | changes).values(), *shown)
    return user


def test_a_visit_goes_on_where_its_page_stands(pool):
    user = resume(pool)
    assert user.scene.seed == HELD_OUT + 7 and user.source == VALID["source"]
    assert (user.model, user.method, user.rate, user.separators) == ("tiny", "sample", 0.75, "reinsert")
    assert user.chat.rate == 0.75 and user.chat.method.name == "sample" and user.pending_model is None


def test_a_photograph_comes_back_and_an_upload_does_not(pool):
    assert resume(pool, source="photograph:Cat").source == "photograph:Cat"
    user = resume(pool, source="upload")
    assert user.image is None and user.chat is None and user.method == "sample" and user.source == ""


def test_a_page_that_never_had_a_picture_gets_a_scene(pool):
    assert resume(pool, source="scene:").scene.seed >= HELD_OUT


def test_the_source_follows_the_picture(pool, user, tmp_path):
    assert user.source == "scene:7"
    choices.photograph(user, pool, "Coffee")
    choices.set_model_options(user, pool, *SHOWN)
    assert user.source == choices.picture(user).source == "photograph:Coffee"
    path = tmp_path / "upload.png"
    Image.new("RGB", (40, 40), "teal").save(path)
    choices.upload(user, pool, str(path))
    assert user.source == "upload"
    choices.remove_picture(user, pool)
    assert user.source == ""


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
def test_settings_that_no_page_has_are_refused_and_the_visit_is_new(pool, changes):
    user = UserSession()
    values = VALID | {name: value for name, value in changes.items() if name != "shown"}
    with pytest.raises(StudioError):
        restart.resume(user, pool, *values.values(), *changes.get("shown", SHOWN))
    now, new = vars(user), vars(UserSession())
    assert all(now[name] == new[name] for name in now if name not in user_session.LASTING)


def test_a_model_that_cannot_be_loaded_any_more_leaves_a_new_session(model):
    def load(name, progress):
        raise ModelUnavailableError("It needs 14 GB.")

    user = UserSession()
    with pytest.raises(ModelUnavailableError):
        restart.resume(user, ModelPool(load), *VALID.values(), *SHOWN)
    assert user.method == UserSession().method and user.image is None


def test_a_method_that_cannot_compress_the_picture_leaves_a_new_session(pool):
    user = UserSession()
    with pytest.raises(StudioError, match="PruMerge"):  # 16 patches are too few for it
        restart.resume(user, pool, *(VALID | {"method": "prumerge"}).values(), *SHOWN)
    assert user.method == UserSession().method and user.image is None and user.rate == UserSession().rate
