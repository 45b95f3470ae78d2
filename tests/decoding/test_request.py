"""The next token is the most probable one, or drawn among the probable."""

import torch

from compressor.decoding import Sampling


def test_sampling():
    logits = torch.tensor([0.0, 3.0, 2.9, -5.0])
    assert Sampling().choose(logits) == 1
    draws = {Sampling(1.0, 1.0, torch.Generator().manual_seed(seed)).choose(logits) for seed in range(40)}
    assert {1, 2} <= draws
    nucleus = {Sampling(1.0, 0.3, torch.Generator().manual_seed(seed)).choose(logits) for seed in range(40)}
    assert nucleus == {1}
