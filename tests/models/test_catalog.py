"""The cards, and what they say of this machine."""

import itertools
from functools import partial

import pytest
import torch
from huggingface_hub import constants
from transformers import LlavaNextConfig

from compressor import MemoryCheck, best_load_options, check_memory, list_models
from compressor.assets import ASSETS
from compressor.geometry import llava_next_layout, xcomposer_layout
from compressor.models import catalog
from compressor.models.catalog import CARDS, FAMILIES
from compressor.models.loading import memory
from compressor.training.bundled.__main__ import RECIPES

GB = 10**9


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.fixture
def machine_of(monkeypatch):
    """Pretends that the machine has as many GB of memory, and room on its disk."""

    def pretend(gigabytes, disk=1000):
        monkeypatch.setattr(memory, "memory", lambda *_: (gigabytes * GB, gigabytes * GB))
        monkeypatch.setattr(memory, "disk_free", lambda directory: disk * GB)

    return pretend


def test_the_catalog():
    cards = {card.name: card for card in list_models()}
    assert list(cards) == [
        "tiny",
        *(["small"] if (ASSETS / "models" / "small" / "config.json").is_file() else []),
        "llava-1.5-7b",
        "llava-1.5-13b",
        "llava-next-7b",
        "llava-next-13b",
        "xcomposer-2.5-7b",
    ]
    assert "only" in cards["tiny"].notice and cards["llava-1.5-7b"].image_tokens == 576
    assert all(card.family in FAMILIES for card in cards.values())
    assert all(card.description.endswith(".") and card.licence for card in cards.values())
    assert all(card.repository.count("/") == 1 for card in list_models() if not card.recipe)
    assert all(card.repository == "" and card.recipe == card.name for card in list_models() if card.recipe)


def test_a_bundled_model_without_files_is_not_listed(tmp_path, monkeypatch):
    bundled, remote = CARDS["tiny"], CARDS["llava-1.5-7b"]
    monkeypatch.setattr(catalog, "ASSETS", tmp_path)
    assert not catalog._available(bundled) and catalog._available(remote)
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "config.json").touch()
    assert catalog._available(bundled)


def test_bundled_models_have_a_recipe_that_exists():
    assert {card.recipe for card in CARDS.values() if card.recipe} <= set(RECIPES)


def test_no_family_downloads_code():
    assert not any(
        file.endswith((".py", "*")) for family in FAMILIES.values() for file in family.files.patterns
    )


def test_the_bundled_model_fits_everywhere(machine_of):
    machine_of(1)
    assert check_memory(CARDS["tiny"], "cpu") == MemoryCheck(True, "Its files are here.")


def test_what_fits_says_what_its_download_takes(machine_of):
    machine_of(30)
    assert check_memory(CARDS["llava-1.5-7b"], "cpu") == MemoryCheck(
        True, "It is downloaded when it is first loaded, about 14.1 GB."
    )


@pytest.mark.parametrize(
    ("gigabytes", "dtype", "fits"),
    [(28, None, False), (29, None, True), (14, torch.bfloat16, False), (15, torch.bfloat16, True)],
)
def test_memory_is_that_of_the_precision(machine_of, gigabytes, dtype, fits):
    machine_of(gigabytes)
    found = check_memory(CARDS["llava-1.5-7b"], "cpu", dtype)
    assert found.fits == fits
    assert fits or f"this machine has {gigabytes}.0 GB" in found.sentence


def test_four_bit_takes_less(machine_of, monkeypatch):
    machine_of(10)
    monkeypatch.setattr(memory, "find_spec", lambda name: name)
    assert not check_memory(CARDS["llava-1.5-13b"], "cpu").fits
    assert check_memory(CARDS["llava-1.5-13b"], "cpu", torch.bfloat16, four_bit=True).fits
    assert check_memory(CARDS["xcomposer-2.5-7b"], "cpu", torch.bfloat16, four_bit=True).fits
    assert not check_memory(CARDS["xcomposer-2.5-7b"], "cpu").fits
    machine_of(7)
    assert (
        "needs about 7.9 GB of memory in 4-bit"
        in check_memory(CARDS["llava-1.5-13b"], "cpu", torch.bfloat16, four_bit=True).sentence
    )


def test_a_disk_that_is_full(machine_of):
    machine_of(100, disk=3)
    found = check_memory(CARDS["llava-1.5-7b"], "cpu")
    assert not found.fits and "the disk has 3.0 GB left" in found.sentence


def test_a_missing_package_comes_with_its_pip_line(machine_of, monkeypatch):
    machine_of(100)
    monkeypatch.setattr(memory, "find_spec", lambda name: None)
    assert check_memory(CARDS["llava-1.5-7b"], "cpu").fits
    assert "pip install sentencepiece" in check_memory(CARDS["xcomposer-2.5-7b"], "cpu").sentence
    assert "bitsandbytes" in check_memory(CARDS["llava-1.5-7b"], "cpu", four_bit=True).sentence


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_of_a_gpu_is_one_it_computes_in(monkeypatch, native, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert memory.default_dtype(torch.device("cuda")) == dtype


def test_memory_of_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * GB, 24 * GB))
    cuda = torch.device("cuda", 0)
    assert memory.memory(cuda) == (10 * GB, 24 * GB)
    assert memory.memory(cuda, spread=True) == (20 * GB, 48 * GB)
    card = CARDS["llava-1.5-13b"]
    assert "the GPU has 24.0 GB" in memory.lacking_memory(card, cuda, torch.bfloat16)
    assert not memory.lacking_memory(card, cuda, torch.bfloat16, spread=True)


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are GPUs, by their number and the GB of each, with bitsandbytes or without."""

    def pretend(count, gigabytes, packages=("bitsandbytes", "sentencepiece")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gigabytes * GB, gigabytes * GB))
        monkeypatch.setattr(memory, "disk_free", lambda directory: 1000 * GB)
        monkeypatch.setattr(memory, "find_spec", lambda name: name if name in packages else None)

    return pretend


@pytest.mark.parametrize(
    ("count", "gigabytes", "way"),
    [
        (1, 80, {}),
        (1, 24, {"four_bit": True}),
        (2, 24, {"device_map": "auto"}),
        (4, 3, {"device_map": "auto", "four_bit": True}),
    ],
)
def test_the_best_way_is_the_most_faithful_one(gpus, count, gigabytes, way):
    gpus(count, gigabytes)
    found, options = best_load_options(CARDS["llava-1.5-13b"])
    assert found.fits and options == way


@pytest.mark.parametrize(
    ("gigabytes", "fits", "way"),
    [(30, True, {}), (20, True, {"dtype": torch.bfloat16}), (10, False, {})],
)
def test_on_a_cpu_half_the_precision_is_the_other_way(machine_of, gigabytes, fits, way):
    machine_of(gigabytes)
    found, options = best_load_options(CARDS["llava-1.5-7b"])
    assert found.fits == fits and options == way
    assert fits or "4-bit" not in found.sentence


def test_what_would_fit_a_cpu_in_bfloat16_says_so(machine_of):
    machine_of(20)
    sentence = check_memory(CARDS["llava-1.5-7b"], "cpu").sentence
    assert "needs about 28.2 GB of memory in float32 and this machine has 20.0 GB; " in sentence
    assert "it would fit with --dtype bfloat16, about 14.1 GB" in sentence
    assert "bfloat16" not in check_memory(CARDS["llava-1.5-13b"], "cpu").sentence
    assert "--dtype" not in check_memory(CARDS["llava-1.5-13b"], "cpu", torch.bfloat16).sentence


def test_what_would_fit_in_four_bit_says_so(gpus):
    gpus(1, 8, packages=())
    found, options = best_load_options(CARDS["llava-1.5-7b"])
    assert not found.fits and options == {}
    assert "the GPU has 8.0 GB; load it in 4-bit, about 4.5 GB, which needs pip install" in found.sentence
    gpus(1, 3)
    assert "use a smaller model or a larger machine" in best_load_options(CARDS["llava-1.5-7b"])[0].sentence


@pytest.mark.parametrize(
    ("family", "layout"),
    [
        ("llava_next", partial(llava_next_layout, pinpoints=LlavaNextConfig().image_grid_pinpoints)),
        ("internlm2", xcomposer_layout),
    ],
)
def test_no_image_has_more_tokens_than_the_card_says(family, layout):
    sides = (200, 336, 500, 672, 1000, 2000, 4000, 14000)
    counts = [len(layout(size)) for size in itertools.product(sides, repeat=2)]
    assert {card.image_tokens for card in list_models() if card.family == family} == {max(counts)}
