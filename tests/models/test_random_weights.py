"""Models without a checkpoint: the published sizes, sane numbers, and the interface of every other model."""

import pytest
import torch

from compressor import get_method, list_models
from compressor.errors import ModelUnavailableError, UnknownModelError
from compressor.evaluation.workload import Batch, Workload, random_images, random_prompt, time_answer
from compressor.models.catalog import CARDS, FAMILIES
from compressor.models.families import family_module
from compressor.models.families.llava import random_weights as llava
from compressor.models.loading import memory
from compressor.models.loading.memory import PACKED_BYTES, weight_bytes
from compressor.models.random_weights import random_model, random_model_names


@pytest.mark.parametrize("name", [card.name for card in list_models()[1:]])
def test_sizes_are_those_of_the_checkpoint(name):
    model = random_model(name, "meta")
    parameters = sum(parameter.numel() for parameter in model.hf.parameters())
    assert 2 * parameters / 1e9 == pytest.approx(CARDS[name].memory_gb, abs=0.06)
    assert model.dtype == torch.bfloat16 and all(each.is_meta for each in model.hf.parameters())


@pytest.mark.parametrize("name", [card.name for card in list_models()[1:]])
def test_four_bits_of_the_decoders_matrices_make_the_size_on_the_card(name):
    model, packed = random_model(name, "meta"), 0
    for layer in model.decoder.layers:
        linear = {key: each for key, each in layer.named_modules() if isinstance(each, torch.nn.Linear)}
        packed += sum(each.weight.numel() for key, each in linear.items() if ".lora_" not in key)
    others = sum(parameter.numel() for parameter in model.hf.parameters()) - packed
    assert (PACKED_BYTES * packed + 2 * others) / 1e9 == pytest.approx(CARDS[name].four_bit_gb, abs=0.06)
    for dtype in (torch.bfloat16, torch.float32):
        expected = PACKED_BYTES * packed + dtype.itemsize * others
        assert weight_bytes(CARDS[name], dtype, four_bit=True) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", random_model_names())
def test_what_a_prompt_needs_is_there(name):
    model = random_model(name, "meta")
    if model.family == "internlm2":
        assert model.image_token_id == -1 and model.context_length == 32768
    else:
        assert model.image_token_id == 32000 and model.eos_id == 2 and model.context_length == 4096


def test_numbers_are_finite_and_the_dtype_is_the_one_asked_for(small_llava, image):
    tokens = small_llava.encode(image, frozenset({"cls_attention", "keys", "queries"}))
    assert tokens.embeddings.isfinite().all() and len(tokens) == 64
    assert small_llava.token_norm > 0
    assert all(parameter.isfinite().all() for parameter in small_llava.hf.parameters())
    assert not any(parameter.requires_grad for parameter in small_llava.hf.parameters())


def test_xcomposer_is_made_like_the_others(small_xcomposer, image):
    tokens = small_xcomposer.encode(image)
    assert tokens.embeddings.isfinite().all() and len(tokens) == len(tokens.layout) and len(tokens.tiles) == 2
    norms = [each.weight for each in small_xcomposer.hf.modules() if type(each).__name__.endswith("Norm")]
    assert norms and all(bool((weight == 1).all()) for weight in norms)
    matrices = [each for each in small_xcomposer.hf.parameters() if each.ndim > 1]
    assert all(0.01 < float(each.std()) < 0.03 for each in matrices if each.numel() > 100)
    assert not any(parameter.requires_grad for parameter in small_xcomposer.hf.parameters())
    with pytest.raises(ModelUnavailableError, match="tokenizer"):
        small_xcomposer.prompt_ids("how many", first=True)


def test_a_seed_gives_the_same_weights_and_leaves_the_global_one_alone(monkeypatch, small_builder):
    monkeypatch.setitem(llava.BUILDERS, "llava-1.5-7b", small_builder)
    state = torch.get_rng_state()
    first, again, other = (random_model("llava-1.5-7b", "cpu", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [model.hf.lm_head.weight for model in (first, again, other)]
    assert weights[0].dtype == torch.bfloat16
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_what_cannot_be_built_is_said(monkeypatch):
    with pytest.raises(UnknownModelError, match=r"llava-1\.5-7b"):
        random_model("tiny")
    monkeypatch.setattr(memory, "memory", lambda *_: (1000, 1000))
    with pytest.raises(ModelUnavailableError, match="memory"):
        random_model("llava-1.5-7b", "cpu")


@pytest.mark.parametrize("folder", {family.folder for family in FAMILIES.values()})
def test_every_builder_is_a_model_of_the_catalog(folder):
    assert set(family_module(folder, "random_weights").BUILDERS) <= set(CARDS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with about 20 GB")
@pytest.mark.parametrize("name", ["llava-1.5-7b", "llava-next-7b", "xcomposer-2.5-7b"])
def test_on_a_gpu_a_model_answers_and_takes_the_memory_of_its_card(name):
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = random_model(name)
    assert (torch.cuda.memory_allocated() - before) / 1e9 == pytest.approx(CARDS[name].memory_gb, rel=0.1)
    workload = Workload(new_tokens=4)
    for method, rate in (("none", 0.0), ("metacompress", 0.9), ("fastv", 0.9)):
        views, prompt = model.prepare(random_images(workload)), random_prompt(model, workload)
        said = time_answer(Batch(model, get_method(method, model), rate, views, prompt, workload.new_tokens))
        assert said.image_tokens >= 1 and said.cache_bytes > 0
