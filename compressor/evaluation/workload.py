"""One batch of answers, as a chat computes them, and how long each stage of it takes.

Every method runs through the code of a chat: `encode_prepared`, `projections`, `compress`, `prefill`, `step`.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from compressor import options
from compressor.decoding import Request, prefill, step
from compressor.evaluation.answering import Reduction, reductions
from compressor.methods.base import Method
from compressor.models.base import PreparedImages, VisionLanguageModel
from compressor.projection import token_budget
from compressor.tokens import ImageTokens

STAGES = ("vision", "compress", "prefill", "decode")


@dataclass(frozen=True)
class Workload:
    """What is asked of a model: as many prompts as images, each with one of them.

    The defaults resemble MT-GQA. Its images are photographs, mostly of 640 x 480 px. LLaVA-1.5's template
    around a question of about ten words and "Answer the question using a single word or phrase." has about 32
    tokens (the published TFLOPs at 0 and 90 % agree on 32, too). An answer is a word or two and an end token,
    so that three turns have about 10 tokens; they are decoded in one turn here.

    Args:
        batch: prompts side by side.
        prompt_tokens: text tokens of each, besides its image.
        new_tokens: tokens decoded for each, the first included; none ends an answer early.
        image_size: (W, H) in pixels.
    Raises:
        InvalidOptionError: a number is too small, or not a whole one.
    """

    batch: int = 1
    prompt_tokens: int = 32
    new_tokens: int = 10
    image_size: tuple[int, int] = (640, 480)

    def __post_init__(self) -> None:
        for name, least in (("batch", 1), ("prompt_tokens", 2), ("new_tokens", 1)):
            options.whole_number(name, getattr(self, name), least)
        for name, side in zip(("image width", "image height"), self.image_size, strict=True):
            options.whole_number(name, side, 1)


def random_images(workload: Workload, seed: int = 0) -> list[Image.Image]:
    """Pictures of noise."""
    draw, (width, height) = np.random.default_rng(seed), workload.image_size
    return [
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for _ in range(workload.batch)
    ]


def random_prompt(model: VisionLanguageModel, workload: Workload, seed: int = 0) -> list[int]:
    """Random ids of text around the image's id, which comes second."""
    vocabulary = model.hf.get_input_embeddings().num_embeddings
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, vocabulary - 1, workload.prompt_tokens)
    ids += ids >= model.image_token_id  # any but that one
    return [int(ids[0]), model.image_token_id, *map(int, ids[1:])]


@dataclass(frozen=True)
class Batch:
    """A batch of questions to a model, one about each image.

    Args:
        model: the model.
        method: that reduces the tokens.
        rate: share of the tokens to remove.
        views: of the images.
        prompt: ids, the image's among them; the same for all.
        new_tokens: to decode for each.
    """

    model: VisionLanguageModel
    method: Method
    rate: float
    views: PreparedImages
    prompt: Sequence[int]
    new_tokens: int

    def encode(self) -> tuple[list[ImageTokens], list[int]]:
        """The tokens of each image, and the m that the rate leaves of them."""
        tokens = self.model.encode_prepared(self.views, self.method.needs)
        return tokens, [token_budget(len(image), self.rate) for image in tokens]

    def reduce(
        self, tokens: Sequence[ImageTokens], budgets: Sequence[int]
    ) -> tuple[list[Reduction], list[Request]]:
        """What the language model is given of each image, and the requests to read it with."""
        reduced = reductions(self.model, self.method, tokens, budgets)
        return reduced, [Request(pruning=r.prune(self.prompt) if r.prune else None) for r in reduced]


@dataclass(frozen=True)
class TimedAnswer:
    """One run of a batch.

    Args:
        ttft_s: seconds from the prepared images to the first token of all.
        total_s: seconds from the prepared images to the last token of all.
        stages_s: seconds of each of `STAGES`; on a GPU in its own time, so that they need not add up.
        image_tokens: m, mean over the images.
        lengths: tokens of the prompt that each decoder layer holds, of each request.
        cache_bytes: keys and values of the batch at the end.
    """

    ttft_s: float
    total_s: float
    stages_s: dict[str, float]
    image_tokens: float
    lengths: list[list[int]]
    cache_bytes: int


class Stopwatch:
    """Stamps between the stages of a run; on a GPU they go into its queue, so that nobody waits for them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stamps = [self._stamp()]

    def _stamp(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def lap(self) -> None:
        """A stage ends here."""
        self._stamps.append(self._stamp())

    def seconds(self) -> list[float]:
        """Of each stage, once the device is done with all of them."""
        synchronize(self.device)
        pairs = zip(self._stamps, self._stamps[1:], strict=False)
        if self.device.type != "cuda":
            return [end - start for start, end in pairs]
        return [start.elapsed_time(end) / 1e3 for start, end in pairs]


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def time_answer(batch: Batch) -> TimedAnswer:
    """Answer all questions side by side, greedily and to the given length, and take the time."""
    model, decoded = batch.model, batch.new_tokens - 1
    synchronize(model.device)
    started = time.perf_counter()
    watch = Stopwatch(model.device)
    tokens, budgets = batch.encode()
    watch.lap()
    reduced, requests = batch.reduce(tokens, budgets)
    watch.lap()
    prefill(model.decoder, requests, [model.embed_ids(batch.prompt, r.image) for r in reduced])
    first = time.perf_counter()
    watch.lap()
    for _ in range(decoded):
        step(model.decoder, requests)
    last = time.perf_counter()
    watch.lap()
    cache = requests[0].cache
    return TimedAnswer(
        ttft_s=first - started,
        total_s=last - started,
        stages_s=dict(zip(STAGES, watch.seconds(), strict=True)),
        image_tokens=statistics.mean(reduction.m for reduction in reduced),
        lengths=[[held[row] - decoded for held in cache.lengths] for row in range(cache.rows)],
        cache_bytes=sum(request.cache_bytes for request in requests),
    )
