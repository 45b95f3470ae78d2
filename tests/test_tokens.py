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
