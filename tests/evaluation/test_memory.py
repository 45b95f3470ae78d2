"""Live tensors are counted, views and the dead are not."""

import torch

from compressor.evaluation.efficiency import peak_bytes

CPU = torch.device("cpu")


def test_the_peak_is_the_most_that_lives_at_a_time():
    weights = torch.zeros(1000)

    def call():
        first = weights + 1  # 4,000 bytes
        second = torch.cat([first, first])  # 8,000 more
        del first
        third = second[:10].reshape(2, 5)  # a view
        del second, third
        return weights * 2

    assert peak_bytes(call, CPU, [weights]) == 4_000 + 12_000


def test_what_is_held_counts_once_and_nothing_is_forgotten_between_calls():
    weights = torch.zeros(500)
    for _ in range(2):
        assert peak_bytes(lambda: weights.add_(1).view(5, 100), CPU, [weights, weights[:7]]) == 2_000


def test_inference_mode_is_counted_too():
    with torch.inference_mode():
        assert peak_bytes(lambda: torch.zeros(25) + torch.zeros(25), CPU, []) == 300


def test_a_shape_without_memory_takes_none():
    assert peak_bytes(lambda: torch.zeros(50, device="meta") + 1, CPU, [torch.zeros(9, device="meta")]) == 0
