"""The most memory that tensors took at any moment of a call."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(call: Callable[[], object], device: torch.device, held: Iterable[Tensor]) -> int:
    """Bytes at the worst moment of a call, what is `held` all the time (weights) included.

    On CUDA it is what torch's allocator counts, `max_memory_allocated`, whatever else is alive included. On a
    CPU, whose allocator counts nothing, it is the sum of all tensors that are alive at a time, seen operation
    by operation: what an operation allocates and frees inside itself is missed.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device)
    with LiveTensors(held) as live:
        call()
    return live.peak


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive while it is active; `peak` is the most at a time."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self._known: set[int] = set()
        self._alive = self.peak = 0
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Runs an operation and counts what it made; views of known memory are free."""
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return output

    def _see(self, tensor: Tensor) -> None:
        if tensor.is_meta:  # a shape without memory
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._alive += size
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size
