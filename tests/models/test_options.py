"""Options of a family: told without loading, refused before anything is read, shared by no two variants."""

import subprocess
import sys

import pytest
import torch

from compressor import load_model
from compressor.errors import InvalidOptionError
from compressor.geometry import llava_layout, xcomposer_layout
from compressor.models.catalog import FAMILIES
from compressor.models.loading import hub, load
from compressor.models.loading.repository_files import CONFIG


@pytest.fixture
def nothing_is_read(monkeypatch):
    """Fails where files are downloaded or weights loaded."""
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("something was downloaded"))
    monkeypatch.setattr(load, "family_module", lambda *_: pytest.fail("something was loaded"))


def test_the_catalog_tells_them_without_importing_what_computes():
    code = (
        "import sys; from compressor.models.catalog import FAMILIES as found; print(*found['llava'].options)"
    )
    code += "; assert not {'torch', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "crop\n"
    assert {name: list(family.options) for name, family in FAMILIES.items()} == {
        "llava": ["crop"],
        "llava_next": [],
        "internlm2": ["hd_num"],
    }


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("llava-1.5-7b", {"hd_num": 4}, r"LLaVA-1\.5 has no option 'hd_num'; it has crop\."),
        ("llava-next-7b", {"crop": True}, r"LLaVA-NeXT has no option 'crop'; it has none\."),
        ("llava-1.5-7b", {"crop": 1}, r"crop of LLaVA-1\.5 must be True or False, not 1\."),
        ("xcomposer-2.5-7b", {"hd_num": 0}, "must be a whole number from 1 to 24, not 0"),
        ("xcomposer-2.5-7b", {"hd_num": 25}, "from 1 to 24, not 25"),
        ("xcomposer-2.5-7b", {"hd_num": True}, "from 1 to 24, not True"),
        ("xcomposer-2.5-7b", {"hd_num": 2.0}, r"from 1 to 24, not 2\.0"),
        ("tiny", {"tiles": 1}, "no option 'tiles'"),
        ("checkpoint", {"hd_num": 4}, "no option 'hd_num'"),
        ("xcomposer_checkpoint", {"crop": False}, "no option 'crop'"),
    ],
)
def test_what_a_family_does_not_have_is_refused_at_once(nothing_is_read, request, name, options, said):
    name = request.getfixturevalue(name) if name.endswith("checkpoint") else name
    with pytest.raises(InvalidOptionError, match=said):
        load_model(name, "cpu", **options)


def test_a_repository_is_refused_after_its_config(monkeypatch, checkpoint):
    fetched = []
    monkeypatch.setattr(hub, "fetch", lambda *asked: fetched.append(asked[2]) or checkpoint)
    with pytest.raises(InvalidOptionError, match="no option 'hd_num'"):
        load_model("owner/model", "cpu", allow_hub=True, hd_num=4)
    assert fetched == [CONFIG]


def test_load_model_sets_them(checkpoint, xcomposer_checkpoint, image):
    cropped = load_model(checkpoint, "cpu", crop=True)
    assert cropped.options == {"crop": True}
    assert cropped.encode(image).layout == llava_layout(image.size, True, image_size=56, patch_size=14)
    few = load_model(xcomposer_checkpoint, "cpu", hd_num=2)
    wide = image.resize((640, 200))
    assert few.encode(wide).layout == xcomposer_layout(wide.size, 2, image_size=168)


def test_a_variant_differs_in_its_options_only(model, xcomposer, next_model, image):
    cropped = model.variant(crop=True)
    assert cropped.hf is model.hf and cropped.decoder is model.decoder and cropped.name == model.name
    assert (model.options, cropped.options) == ({"crop": False}, {"crop": True})
    padded, middle = model.encode(image), cropped.encode(image)
    assert middle.layout == llava_layout(image.size, True, image_size=56, patch_size=14) != padded.layout
    assert not torch.equal(padded.embeddings, middle.embeddings)
    torch.testing.assert_close(cropped.variant(crop=False).encode(image).embeddings, padded.embeddings)
    one = xcomposer.variant(hd_num=1)
    assert len(one.encode(image.resize((640, 640)))) == len(xcomposer_layout((640, 640), 1, image_size=168))
    assert xcomposer.hd_num == 24 and next_model.variant().options == {}
    with pytest.raises(InvalidOptionError, match="it has none"):
        next_model.variant(crop=True)
