"""Sequences of different lengths to be read together."""

import pytest
import torch


@pytest.fixture
def sequences(model):
    return [torch.randn(length, model.width) for length in (7, 1, 12)]
