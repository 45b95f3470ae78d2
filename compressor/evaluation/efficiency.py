"""What an answer costs: time to the first token and to the last, memory, cache and operations."""

import platform
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compressor.errors import ContextLengthError, ModelUnavailableError
from compressor.evaluation import flops
from compressor.evaluation.workload import (
    STAGES,
    Batch,
    TimedAnswer,
    Workload,
    random_images,
    random_prompt,
    time_answer,
)
from compressor.methods.base import DecoderMethod, Method
from compressor.models.base import PreparedImages, VisionLanguageModel
from compressor.projection import Projection


@dataclass(frozen=True)
class Efficiency:
    """What a method costs at a rate: medians over the repeats.

    Args:
        device: its name.
        image_tokens: m of one image.
        ttft_ms: encoding, compression and prefill: from prepared images to the first token of all.
        total_ms: from there to the last token.
        prepare_ms: resizing and normalising the images on the host before; the same for every method, not in
            `ttft_ms`.
        vision_ms: part of `ttft_ms`.
        compress_ms: part of `ttft_ms`.
        prefill_ms: part of `ttft_ms`.
        decode_ms: per further token; None if there is none.
        peak_memory_gb: 10^9 bytes at the worst moment, weights included (`peak_bytes`).
        cache_mb: 10^6 bytes of keys and values of the batch at the end.
        tflops: 10^12 operations of the batch, with those of each stage beside it (`Flops`).
        prompt_tokens: as of `Workload`.
        new_tokens: as of `Workload`.
    """

    model: str
    device: str
    dtype: str
    method: str
    rate: float
    batch: int
    image_tokens: float
    ttft_ms: float
    total_ms: float
    prepare_ms: float
    vision_ms: float
    compress_ms: float
    prefill_ms: float
    decode_ms: float | None
    peak_memory_gb: float
    cache_mb: float
    tflops: float
    vision_tflops: float
    projection_tflops: float
    prefill_tflops: float
    decode_tflops: float
    prompt_tokens: int
    new_tokens: int

    def as_data(self) -> dict[str, Any]:
        """Numbers for JSON, rounded to what is measured."""
        return {
            name: float(f"{value:.6g}") if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def device_name(device: torch.device) -> str:
    """What the machine calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


@torch.inference_mode()
def answer_flops(batch: Batch, lengths: Sequence[Sequence[int]]) -> flops.Flops:
    """Operations of `time_answer`: by formula; those of P itself are counted by torch.

    Args:
        batch: what is answered.
        lengths: as of `TimedAnswer`.
    """
    model, method = batch.model, batch.method
    text, rank = model.text_config, model.image_rank
    tokens, budgets = batch.encode()
    projection = pruning = 0
    if isinstance(method, DecoderMethod):
        read = [row[0] for row, image, m in zip(lengths, tokens, budgets, strict=True) if m < len(image)]
        pruning = sum(flops.pruning_flops(text, length) for length in read)
    else:
        projections: list[Projection] = []
        projection = flops.counted_flops(lambda: projections.extend(method.projections(tokens, budgets)))
        applied = zip(tokens, projections, strict=True)
        projection += sum(flops.application_flops(model, image, p) for image, p in applied)
    return flops.Flops(
        vision=flops.vision_flops(model, tokens),
        projection=projection,
        prefill=pruning + sum(flops.prefill_flops(text, row, rank) for row in lengths),
        decode=sum(flops.decode_flops(text, row, batch.new_tokens - 1) for row in lengths),
    )


def measure(
    model: VisionLanguageModel,
    methods: Mapping[str, Method],
    rate: float,
    workload: Workload,
    repeats: int = 5,
) -> list[Efficiency]:
    """Efficiency of every method, measured in turns, so that a drift of the machine meets all alike.

    Args:
        model: the model.
        methods: by name; "none" is the base and has the rate 0.
        rate: of the reduction.
        workload: what to ask.
        repeats: runs of each, after two that are not timed: one measures memory, the other warms up.
    Raises:
        InvalidRateError, InvalidOptionError: as their names say.
        ContextLengthError: prompt and answer are longer than the model can read.
        ModelUnavailableError: there is not enough memory.
    """
    views, prepare_s = _prepared(model, workload, repeats)
    prompt = random_prompt(model, workload)
    batches = {
        name: Batch(model, method, 0.0 if name == "none" else rate, views, prompt, workload.new_tokens)
        for name, method in methods.items()
    }
    held = [*model.hf.parameters(), *model.hf.buffers(), views.pixels]
    try:
        peaks = {
            name: peak_bytes(partial(time_answer, batch), model.device, held)
            for name, batch in batches.items()
        }
        rounds = [{name: time_answer(batch) for name, batch in batches.items()} for _ in range(1 + repeats)]
        del rounds[0]  # that was to warm up
        costs = {name: answer_flops(batch, rounds[0][name].lengths) for name, batch in batches.items()}
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise ModelUnavailableError(
            f"There is not enough memory for a batch of {workload.batch}: ask for a smaller one."
        ) from error
    return [
        _summary(name, batch, workload, [run[name] for run in rounds], prepare_s, peaks[name], costs[name])
        for name, batch in batches.items()
    ]


def _prepared(model: VisionLanguageModel, workload: Workload, repeats: int) -> tuple[PreparedImages, float]:
    """Random images ready for the encoder, and the median of the seconds that takes; the context must do."""
    images, seconds = random_images(workload), []
    for _ in range(1 + repeats):
        since = time.perf_counter()
        views = model.prepare(images)
        seconds.append(time.perf_counter() - since)
    n = len(model.encode(images[0]))
    if n + workload.prompt_tokens + workload.new_tokens > model.context_length:
        raise ContextLengthError(
            f"{n} image tokens, {workload.prompt_tokens} of the prompt and {workload.new_tokens} new ones "
            f"are more than the {model.context_length} that this model reads: ask for fewer."
        )
    return views, statistics.median(seconds[1:])


def _summary(
    name: str,
    batch: Batch,
    workload: Workload,
    answers: Sequence[TimedAnswer],
    prepare_s: float,
    peak: int,
    cost: flops.Flops,
) -> Efficiency:
    stages = {stage: 1e3 * statistics.median(a.stages_s[stage] for a in answers) for stage in STAGES}
    steps = workload.new_tokens - 1
    return Efficiency(
        model=batch.model.name,
        device=device_name(batch.model.device),
        dtype=str(batch.model.dtype).removeprefix("torch."),
        method=name,
        rate=batch.rate,
        batch=workload.batch,
        image_tokens=float(answers[0].image_tokens),
        ttft_ms=1e3 * statistics.median(answer.ttft_s for answer in answers),
        total_ms=1e3 * statistics.median(answer.total_s for answer in answers),
        prepare_ms=1e3 * prepare_s,
        vision_ms=stages["vision"],
        compress_ms=stages["compress"],
        prefill_ms=stages["prefill"],
        decode_ms=stages["decode"] / steps if steps else None,
        peak_memory_gb=peak / 1e9,
        cache_mb=answers[0].cache_bytes / 1e6,
        tflops=cost.total / 1e12,
        vision_tflops=cost.vision / 1e12,
        projection_tflops=cost.projection / 1e12,
        prefill_tflops=cost.prefill / 1e12,
        decode_tflops=cost.decode / 1e12,
        prompt_tokens=workload.prompt_tokens,
        new_tokens=workload.new_tokens,
    )


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
        """Runs an operation and counts what it projections; views of known memory are free."""
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
