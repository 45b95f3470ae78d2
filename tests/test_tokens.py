"""Tokens that do not belong together are refused."""

import pytest
import torch

from compressor import ImageTokens
from compressor.errors import ModelMismatchError
from compressor.geometry import llava_layout


def test_counts_must_agree():
    layout = llava_layout((28, 28), image_size=28)
    assert len(ImageTokens(torch.zeros(4, 2), torch.zeros(4, 3), layout)) == 4
    for features, embeddings in ((5, 4), (4, 5)):
        with pytest.raises(ModelMismatchError):
            ImageTokens(torch.zeros(features, 2), torch.zeros(embeddings, 3), layout)


@pytest.mark.parametrize(
    ("name", "shape", "wrong"),
    [
        ("cls_feature", (2,), (3,)),
        ("cls_attention", (2, 5), (2, 4)),
        ("cls_attention", (2, 5), (5,)),
        ("keys", (5, 2, 3), (4, 2, 3)),
        ("last_queries", (5, 2), (4, 2)),
        ("last_keys", (5, 2), (6, 2)),
    ],
)
def test_what_heuristics_ask_for_must_agree_too(name, shape, wrong):
    layout = llava_layout((28, 28), image_size=28)
    tokens = ImageTokens(torch.zeros(4, 2), torch.zeros(4, 3), layout, **{name: torch.zeros(shape)})
    assert tokens.require(name).shape == shape
    with pytest.raises(ModelMismatchError):
        ImageTokens(torch.zeros(4, 2), torch.zeros(4, 3), layout, **{name: torch.zeros(wrong)})


@pytest.mark.parametrize("name", ["model", "next_model", "xcomposer"])
def test_tokens_know_what_they_were_encoded_with(name, request, image):
    model = request.getfixturevalue(name)
    assert model.encode(image).extras == {"features"}
    for want in ({"keys"}, {"queries"}, {"cls_attention"}, {"keys", "cls_attention", "features"}):
        assert model.encode(image, frozenset(want)).extras == want | {"features"}
