"""No method, and no model, needs float64 of a device: MPS, which has none, is stood in for by a refusal."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compressor import ChatSession, get_method, list_methods
from compressor.evaluation.overlap import shared
from compressor.methods.metacompress import MetaCompress

NAMES = [info.name for info in list_methods() if info.name != "fixed"]
CHOICES = [
    *((name, {}) for name in NAMES),
    ("prumerge", {"adaptive": True}),
    ("visionzip", {"per_view": 9}),
    ("visionzip", {"class_token": False}),
    ("fixed", {"weights": np.full((5, 256), 1 / 256, np.float32)}),
]


class WithoutFloat64(TorchDispatchMode):
    """Refuses every float64 tensor that PyTorch computes or reads; NumPy, on the host, is free."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, made)):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64:
                raise TypeError(f"{func} on a float64 tensor, which this device does not have")
        return made


@pytest.fixture(params=["tiny", "next_model", "xcomposer"])
def any_family(request):
    """A model of each family in float32."""
    return request.getfixturevalue(request.param)


def test_the_stand_in_refuses_what_a_device_without_float64_does():
    with WithoutFloat64():
        assert torch.ones(2).sum() == 2
        for refused in (lambda: torch.ones(2).double(), lambda: torch.zeros(2, dtype=torch.float64)):
            with pytest.raises(TypeError, match="float64"):
                refused()
        with pytest.raises(TypeError, match="float64"):
            torch.from_numpy(np.ones(2)).float()


@pytest.mark.parametrize(("name", "options"), CHOICES)
def test_a_chat_is_held_without_float64(any_family, image, name, options):
    if name == "fixed" and any_family.name != "tiny":
        pytest.skip("its P is made for 256 tokens")
    with WithoutFloat64():
        method = get_method(name, model=any_family, **options)
        session = ChatSession(any_family, image, method=method, rate=0.5)
        for question in ("how many", "is it red"):
            assert list(session.ask(question, max_new_tokens=3, temperature=0.7, seed=1)) != []


def test_positions_are_those_of_the_formula():
    """In float64, rounded once; for an odd width, too."""
    for d in (12, 47):
        angles = np.arange(30)[:, None] / 10000.0 ** (np.arange(0, d, 2) / d)
        table = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(30, -1)[:, :d]
        table *= 3.7 / np.linalg.norm(table, axis=1, keepdims=True)
        found = MetaCompress(d, position_scale=3.7).positions(30)
        np.testing.assert_allclose(found.numpy(), table, rtol=2e-7, atol=1e-9)


def test_scores_are_compared_without_float64():
    with WithoutFloat64():
        assert shared(torch.tensor([0, 3, 4]), torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0])) == 1
        assert shared(torch.tensor([1, 0, 2]), torch.tensor([5.0, 1.0, 2.0, 3.0, 4.0])) == 1 / 3
