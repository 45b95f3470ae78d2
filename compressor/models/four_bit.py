"""4-bit weights: matrices in NF4 of bitsandbytes, whose scales are quantised again.

Source: Dettmers et al., "QLoRA" (2023), section 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

QUANT_TYPE, DOUBLE = "nf4", True


def quantisation_config(dtype: torch.dtype, full_precision: Sequence[str]) -> BitsAndBytesConfig:
    """What a loader of transformers is told, so that it makes the layers of `without_weights`.

    Args:
        dtype: to compute in.
        full_precision: modules that stay as they are, each by the start of its name.
    """
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=QUANT_TYPE,
        bnb_4bit_use_double_quant=DOUBLE,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(full_precision),
    )


def without_weights(linear: nn.Linear, dtype: torch.dtype) -> nn.Linear:
    """A 4-bit layer of the shape of another, on "meta": its matrix is still to come by `quantised`.

    Args:
        linear: whose place it takes.
        dtype: to compute in.
    """
    from bitsandbytes.nn import Linear4bit

    return Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=dtype,
        compress_statistics=DOUBLE,
        quant_type=QUANT_TYPE,
        device="meta",
    )


def is_four_bit(parameter: nn.Parameter) -> bool:
    """Whether a parameter is, or is to become, a matrix in 4 bits; bitsandbytes need not be installed."""
    return hasattr(parameter, "quant_type")


def quantised(layer: nn.Linear, weight: Tensor) -> nn.Parameter:
    """The matrix of a 4-bit layer, on the device of `weight`.

    Args:
        layer: of `without_weights`.
        weight: (out, in), not quantised.
    """
    from bitsandbytes.nn import Params4bit

    made = Params4bit(
        weight, requires_grad=False, compress_statistics=DOUBLE, quant_type=QUANT_TYPE, module=layer
    )
    return made.to(weight.device)
