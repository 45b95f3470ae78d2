"""Similarity of tokens, for the methods that compare them."""

import torch
from torch import Tensor


def nan_to_zero(x: Tensor) -> Tensor:
    """x with zeros where it is NaN or infinite, so that such a feature changes no other token.

    16 bits become float32: they can neither count the tokens of a large image nor make weights sum to 1.

    Args:
        x: of any shape.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32)).nan_to_num(0.0, 0.0, 0.0)


def normalize_rows(x: Tensor) -> Tensor:
    """Rows of norm 1, (..., d), whose products are cosines; a row of zeros stays.

    Args:
        x: (..., d).
    """
    x = nan_to_zero(x)
    return torch.nn.functional.normalize(x, dim=-1, eps=torch.finfo(x.dtype).tiny)
