"""4-bit weights: matrices in NF4 of bitsandbytes, whose scales are quantised again.

Source: Dettmers et al., "QLoRA" (2023), section 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from compressor.errors import ModelMismatchError

QUANT_TYPE, DOUBLE = "nf4", True
# bitsandbytes' kernels for CPUs take the scale of another block where a row of a matrix does not consist of
# whole blocks of 64, and pack 32 rows at a time
CPU_COLUMNS, CPU_ROWS = 64, 32


def quantisation_config(dtype: torch.dtype, full_precision: Sequence[str]) -> BitsAndBytesConfig:
    """The configuration by which a loader of transformers makes the layers of `without_weights`.

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


def is_four_bit(parameter: Tensor) -> bool:
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


def require_cpu_shapes(network: nn.Module, name: str) -> None:
    """Refuse 4-bit layers that a CPU would compute wrong, without an error; GPUs have kernels of their own.

    Args:
        network: with 4-bit layers, with or without their weights.
        name: of the model.
    Raises:
        ModelMismatchError: there is such a layer.
    """
    for layer_name, layer in network.named_modules():
        if not isinstance(layer, nn.Linear) or not is_four_bit(layer.weight):
            continue
        if layer.in_features % CPU_COLUMNS or layer.out_features % CPU_ROWS:
            raise ModelMismatchError(
                f"4-bit weights on a CPU need layers that read a multiple of {CPU_COLUMNS} numbers and "
                f"give one of {CPU_ROWS}, but {layer_name} of {name!r} reads {layer.in_features} and gives "
                f"{layer.out_features}; use a GPU, or leave 4-bit out."
            )
