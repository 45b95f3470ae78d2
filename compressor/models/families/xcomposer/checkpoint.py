"""The checkpoint of InternLM-XComposer-2.5: its files, its names, and how our modules get their weights."""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from compressor.errors import ModelMismatchError
from compressor.models.families.xcomposer.network import XComposerNetwork
from compressor.models.loading.files import PICKLED, SAFETENSORS, damaged, weight_files
from compressor.models.loading.placement import Places, place_of

# branches that the published code uses for writing articles and web pages, the memory of the streaming model,
# and a buffer of older CLIP modules
UNUSED = re.compile(r"\.lora_(sft|dpo|web)_[AB]\.|^video_mem_proj\.|\.position_ids$")
RENAMED = {
    "embed_tokens": "tok_embeddings",
    "self_attn.q_proj": "attention.wqkv",
    "self_attn.k_proj": "attention.wqkv",
    "self_attn.v_proj": "attention.wqkv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    ".base.": ".",
    "lora_a": "Plora_A",
    "lora_b": "Plora_B",
}


class CheckpointFiles(Mapping[str, Tensor]):
    """The tensors in the files of a directory, each read when it is asked for; no code in them is executed.

    Raises:
        ModelUnavailableError: there are none, or some are missing or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for file in weight_files(directory, (SAFETENSORS, PICKLED)):
            try:
                self._readers |= _readers(file)
            except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
                raise damaged(file) from error

    def __getitem__(self, key: str) -> Tensor:
        return self._readers[key]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def _readers(file: Path) -> dict[str, Callable[[], Tensor]]:
    if file.suffix == ".safetensors":
        shard = safe_open(file, framework="pt")
        return {key: partial(shard.get_tensor, key) for key in shard.keys()}  # noqa: SIM118 (no mapping)
    tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return {key: partial(tensors.__getitem__, key) for key in tensors}


def checkpoint_key(name: str) -> str:
    """The checkpoint's name of one of our parameters."""
    part, _, rest = name.partition(".")
    if part == "tower":
        return f"vit.vision_tower.vision_model.{rest}"
    if part == "separators":
        return rest
    if part == "lm_head":
        return f"output.{rest}"
    if part == "language":
        for ours, theirs in RENAMED.items():
            rest = rest.replace(ours, theirs)
        return f"model.{rest}"
    return name


def head_rows(tensor: Tensor, part: str, heads: int, kv_heads: int) -> Tensor:
    """The rows of one of q, k and v in a matrix (rows, columns) that groups them by key-value head.

    Each group holds heads / kv_heads blocks of queries, then one of keys and one of values.
    """
    group = heads // kv_heads
    blocks = tensor.unflatten(0, (kv_heads, group + 2, -1))  # (kv_heads, group + 2, d_k, columns)
    chosen = {"q": slice(0, group), "k": slice(group, group + 1), "v": slice(group + 1, group + 2)}[part]
    return blocks[:, chosen].flatten(0, 2)


def assign(
    network: XComposerNetwork, tensors: Mapping[str, Tensor], places: Places, dtype: torch.dtype
) -> None:
    """Give a network the weights of a checkpoint, one tensor at a time, and bring its buffers to them.

    Args:
        network: without weights.
        tensors: under the checkpoint's names.
        places: where they go.
        dtype: to convert them to.
    Raises:
        ModelMismatchError: tensors are missing, have another shape, or are neither used nor known as unused.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    expected = {checkpoint_key(name) for name in shapes}
    _refuse(expected - set(tensors), "lacks")
    _refuse({key for key in set(tensors) - expected if not UNUSED.search(key)}, "holds unexpected")
    for name, shape in shapes.items():
        tensor = _tensor(network, tensors[checkpoint_key(name)], name)
        if tuple(tensor.shape) != shape:
            raise ModelMismatchError(
                f"{checkpoint_key(name)} of this checkpoint does not have the shape that its config says."
            )
        network.set_tensor(name, tensor.to(place_of(name, places), dtype))
    for name, buffer in list(network.named_buffers()):
        network.set_tensor(name, buffer.to(place_of(name, places)))


def _tensor(network: XComposerNetwork, tensor: Tensor, name: str) -> Tensor:
    """What one of our parameters takes of the checkpoint's tensor."""
    found = re.search(r"self_attn\.([qkv])_proj\.(base|lora_b)\.", name)
    config = network.language.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if not found or not name.startswith("language.") or len(tensor) % (heads + 2 * kv_heads):
        return tensor
    return head_rows(tensor, found[1], heads, kv_heads)


def _refuse(keys: set[str], what: str) -> None:
    if keys:
        shown = sorted(keys)
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        raise ModelMismatchError(
            f"This checkpoint {what} {', '.join(shown[:3])}{more}; is it InternLM-XComposer-2.5?"
        )
