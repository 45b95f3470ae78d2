"""An answer is computed as a chat computes it, and nothing before its first token waits for the device."""

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from compressor import ChatSession, decoding, get_method
from compressor.errors import InvalidOptionError
from compressor.evaluation.workload import (
    STAGES,
    Batch,
    Workload,
    random_prompt,
    time_answer,
)
from compressor.methods.metacompress import MetaCompress
from compressor.models.base import PreparedImages
from compressor.models.random_weights import random_model
from tests.evaluation.batches import METHODS, batch_of

READ_BY_HOST = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "unique_dim",
    "_unique2",
}
COPIED_FROM_HOST = ("random", "spatial")  # their P is drawn or cut on the CPU
MAX_IMAGE_TOKENS = 64


class Watch(TorchDispatchMode):
    """Counts operations that make the host wait for a GPU, and lists the copies from the host that do."""

    def __init__(self):
        super().__init__()
        self.reads, self.waiting_copies = Counter(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if name in READ_BY_HOST:
            self.reads[name] += 1
        if name in ("index", "index_put", "index_put_"):
            indices = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, torch.Tensor)]
            self.reads["mask"] += any(index.dtype == torch.bool for index in indices)
            self.waiting_copies += [tuple(i.shape) for i in indices if i.device != args[0].device]
        if name in ("_to_copy", "copy_"):
            source = args[name == "copy_"]
            at_once = (kwargs or {}).get("non_blocking") or args[2:] == (True,)
            if source.device != made.device and not at_once:
                self.waiting_copies.append(tuple(source.shape))
        return made


def to_the_first_token(asked):
    """All of an answer up to its first token; torch is watched on the way."""
    with torch.inference_mode(), Watch() as watch:
        tokens, budgets = asked.encode()
        reduced, requests = asked.reduce(tokens, budgets)
        model = asked.model
        decoding.prefill(model.decoder, requests, [model.embed_ids(asked.prompt, x.image) for x in reduced])
    return watch


@pytest.mark.parametrize("name", METHODS)
def test_the_host_reads_nothing_before_the_first_token(small_llava, name):
    asked = batch_of(small_llava, name)
    assert not +to_the_first_token(asked).reads


def test_the_watch_sees_what_waits():
    x = torch.arange(6.0)
    with Watch() as watch:
        _ = bool(x.sum() > 1), x[x > 2], x.nonzero(), torch.equal(x, x + 0), x.to("meta")
        y = torch.zeros(6, device="meta")
        y[:2], _ = x[:2], y[torch.arange(3)]
        _ = x.to("meta", non_blocking=True), y.copy_(x, True), y[torch.arange(3, device="meta")]
    assert +watch.reads == Counter(_local_scalar_dense=1, mask=1, nonzero=1, equal=1)
    assert watch.waiting_copies == [(6,), (3,), (2,)]


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COPIED_FROM_HOST])
@pytest.mark.parametrize(("size", "views"), [("llava-1.5-7b", 1), ("llava-next-7b", 5)])
def test_no_copy_from_the_host_waits_and_no_number_is_needed_at_full_size(name, size, views, monkeypatch):
    """On the device "meta" there are no numbers, so that whoever asks for one fails."""
    model = random_model(size, "meta")
    method = MetaCompress(4096, token_norm=1.0).to("meta") if name == "metacompress" else get_method(name)
    pixels = torch.zeros(2 * views, 3, 336, 336, dtype=torch.bfloat16)
    views = PreparedImages(pixels, [(640, 480)] * 2)
    asked = Batch(model, method, 0.9, views, random_prompt(model, Workload()), 1)
    read = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: [0] * len(x) if x.is_meta else read(x))
    create, created = torch.tensor, []  # on another device than the host's, it copies and waits out of sight
    monkeypatch.setattr(torch, "tensor", lambda *a, **k: created.append(k.get("device")) or create(*a, **k))
    watch = to_the_first_token(asked)
    assert not +watch.reads and not watch.waiting_copies and set(created) <= {None, torch.device("cpu")}


@pytest.mark.parametrize("name", METHODS)
def test_an_answer_reports_what_its_cache_holds(small_llava, name):
    asked = batch_of(small_llava, name, new_tokens=5)
    found = time_answer(asked)
    m = MAX_IMAGE_TOKENS if name == "none" else 19
    assert found.image_tokens == m and len(found.lengths) == 2
    assert all(row[-1] == m + 9 for row in found.lengths)
    entry = 2 * 48 * 4  # keys and values of a token in a layer, in float32
    assert found.cache_bytes == sum(length + 4 for row in found.lengths for length in row) * entry
    assert set(found.stages_s) == set(STAGES) and all(value >= 0 for value in found.stages_s.values())
    assert 0 < found.ttft_s < found.total_s


@pytest.mark.parametrize("name", ["metacompress", "fastv", "visionzip"])
def test_the_first_logits_are_those_of_a_chat(model, image, name):
    session = ChatSession(model, image, get_method(name, model=model), 0.7)
    list(session.ask("how many cats?", max_new_tokens=1))
    prompt = model.prompt_ids("how many cats?", first=True)
    asked = Batch(model, get_method(name, model=model), 0.7, model.prepare([image]), prompt, 1)
    with torch.inference_mode():
        (reduced,), requests = asked.reduce(*asked.encode())
        decoding.prefill(model.decoder, requests, [model.embed_ids(prompt, reduced.image)])
    torch.testing.assert_close(requests[0].logits, session.prefix_cache.request.logits, atol=1e-5, rtol=0)


def test_a_prompt_has_the_length_asked_for_and_one_image(small_llava):
    for seed in range(50):
        ids = random_prompt(small_llava, Workload(prompt_tokens=40), seed)
        assert len(ids) == 41 and ids.count(small_llava.image_token_id) == 1
        assert max(ids) < 128 and min(ids) >= 0


@pytest.mark.parametrize(
    "bad",
    [
        {"batch": 0},
        {"prompt_tokens": 1},
        {"new_tokens": 0},
        {"new_tokens": "9"},
        {"image_size": (0, 4)},
        {"image_size": (4, None)},
    ],
)
def test_workloads_of_nothing_are_refused(bad):
    with pytest.raises(InvalidOptionError):
        Workload(**bad)
