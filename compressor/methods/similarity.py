"""Likeness of tokens, for the methods that compare them."""

import torch
from torch import Tensor


def finite(x: Tensor) -> Tensor:
    """x with zeros where it holds no finite number, so that a broken feature spoils only itself.

    16 bits become float32: they can neither count the tokens of a large image nor make weights sum to 1.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32)).nan_to_num(0.0, 0.0, 0.0)


def unit_rows(x: Tensor) -> Tensor:
    """Rows (..., d) at length 1, whose products are cosines; a row of zeros stays."""
    x = finite(x)
    return torch.nn.functional.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)
