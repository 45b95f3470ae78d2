"""What a checkpoint's files say of it before it is loaded."""

import json

import pytest
import torch

from compressor import card_of, load_model
from compressor.errors import ModelUnavailableError
from compressor.models.loading.memory import best_load_options, weight_bytes


@pytest.mark.parametrize("which", ["checkpoint", "next_checkpoint", "xcomposer_checkpoint"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_estimated_from_the_files(which, dtype, request):
    directory = request.getfixturevalue(which)
    model = load_model(directory, "cpu", dtype)
    taken = sum(parameter.nbytes for parameter in model.hf.parameters())
    card = card_of(directory, "mine")
    assert card.family == model.family and card.name == "mine" and not card.repository
    # files hold headers, too, and those of XComposer branches that are not loaded
    assert taken <= weight_bytes(card, dtype) <= 1.15 * taken
    assert weight_bytes(card, dtype, four_bit=True) < weight_bytes(card, dtype)


def test_files_that_are_here_fit_where_the_memory_does(checkpoint):
    found, way = best_load_options(card_of(checkpoint, "mine"))
    assert found.fits and way == {} and found.sentence == "Its files are here."


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"model_type": "bert"})])
def test_a_directory_that_is_no_checkpoint_has_no_card(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelUnavailableError, match=r"'mine'|mine is of the bert family"):
        card_of(tmp_path, "mine")
