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


def draws(logits, temperature, top_p=1.0):
    return {
        Sampling(temperature, top_p, torch.Generator().manual_seed(seed)).choose(logits) for seed in range(60)
    }


def test_temperature_spreads_the_draw():
    logits = torch.tensor([0.0, 3.0, 2.9, -5.0])
    assert draws(logits, 0.001) == {1} and draws(logits, 1000.0) == {0, 1, 2, 3}
    assert draws(logits.half(), 1000.0) == {0, 1, 2, 3}


def test_the_nucleus_is_the_smallest_set_that_has_its_probability():
    halves = torch.tensor([-torch.inf, 0.0, 0.0])
    assert draws(halves, 1.0, 0.5) == {1} and draws(halves, 1.0, 0.51) == {1, 2}
    assert draws(halves, 1.0, 1e-9) == {1}


def test_sampling_without_a_generator_leaves_that_of_the_process_alone():
    before = torch.get_rng_state()
    Sampling(1.0).choose(torch.zeros(9))
    assert torch.equal(torch.get_rng_state(), before)
