"""How long a method takes to write P, beside one prefill of the language model it serves."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from compressor.decoding import Request, prefill
from compressor.geometry import PATCH, TokenGrid, TokenLayout
from compressor.methods.base import DecoderMethod
from compressor.methods.registry import get_method, list_methods
from compressor.models.base import VisionLanguageModel
from compressor.projection import token_budget
from compressor.prompt_pruning import prompt_pruning
from compressor.tokens import ImageTokens

GRIDS = {576: (24, 24), 2880: (120, 24)}  # one view of LLaVA-1.5; five of LLaVA-NeXT
QUESTION = "how many objects are there?"


def random_tokens(model: VisionLanguageModel, n: int, seed: int = 0) -> ImageTokens:
    """Gaussian tokens of the model's widths with all that methods ask for; time does not depend on values."""
    rows, columns = GRIDS[n]
    vision = model.hf.config.vision_config
    heads, d_v = vision.num_attention_heads, vision.hidden_size
    draw = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).to(model.device, model.dtype)

    return ImageTokens(
        features=numbers(n, d_v),
        embeddings=numbers(n, model.width) * model.token_norm / model.width**0.5,
        layout=TokenLayout(
            np.zeros((n, 4)), np.full(n, PATCH), (columns, rows), (TokenGrid(0, rows, columns, columns),)
        ),
        cls_feature=numbers(d_v),
        cls_attention=numbers(heads, n + 1).softmax(-1),
        keys=numbers(n + 1, heads, d_v // heads),
        last_queries=numbers(n + 1, d_v),
        last_keys=numbers(n + 1, d_v),
    )


@torch.inference_mode()
def method_times(model: VisionLanguageModel, n: int, rate: float, repeats: int = 5) -> dict[str, float]:
    """Median seconds: of "prefill" on all n tokens, and of every method's P at a rate.

    FastV has no time of its own: what is given is the whole prefill with its pruning.
    """
    tokens, budget = random_tokens(model, n), token_budget(n, rate)
    ids = model.prompt_ids(QUESTION, first=True)
    embeds = model.embed_ids(ids, tokens.embeddings)

    def read(method: DecoderMethod | None = None) -> None:
        pruning = prompt_pruning(method, ids, model.image_token_id, n, budget) if method else None
        prefill(model.decoder, [Request(pruning=pruning)], [embeds])

    times = {"prefill": _median(read, repeats, model.device)}
    for info in list_methods():
        method = get_method(info.name, model=model)
        if isinstance(method, DecoderMethod):
            call = partial(read, method)
        else:
            call = partial(method.projection, tokens, budget)
        times[info.name] = _median(call, repeats, model.device)
    return times


def _median(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    call()  # the first one allocates
    seconds = []
    for _ in range(repeats):
        since = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - since)
    return statistics.median(seconds)
