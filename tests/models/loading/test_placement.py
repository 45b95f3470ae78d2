"""Models spread over several devices: where modules go, and that every call finds its inputs there."""

from functools import partial

import pytest
import torch
from accelerate import dispatch_model
from accelerate.hooks import remove_hook_from_submodules

from compressor import ChatSession, load_model
from compressor.decoding import hidden_states
from compressor.errors import InvalidOptionError, ModelUnavailableError
from compressor.models.families.xcomposer.model import WHOLE, from_checkpoint
from compressor.models.families.xcomposer.network import XComposerNetwork
from compressor.models.loading import placement
from compressor.models.loading.placement import place_of, places

GB = 10**9
BEFORE = ("tower", "separators", "vision_proj", "language.embed_tokens")  # where an image's tokens pass
MODULES = {  # of the families, all but the decoder's layers
    "checkpoint": ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
    + [f"model.language_model.{name}" for name in ("embed_tokens", "norm", "rotary_emb")],
    "xcomposer_checkpoint": [*BEFORE, "language.norm", "language.rotary_emb", "lm_head"],
}
LAYERS = {"checkpoint": "model.language_model.layers", "xcomposer_checkpoint": "language.layers"}
CPU = torch.device("cpu")


def full_map(family, layers, elsewhere="cpu", moved=()):
    """A device for every module: the CPU for all but some."""
    names = [*MODULES[family], *(f"{LAYERS[family]}.{index}" for index in range(layers))]
    return {name: elsewhere if name in moved else "cpu" for name in names}


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are GPUs with so many GB each."""

    def pretend(*gigabytes):
        found = {index: int(each * GB) for index, each in enumerate(gigabytes)}
        there = {**found, "cpu": 100 * GB}
        monkeypatch.setattr("accelerate.utils.modeling.get_max_memory", lambda given=None: given or {**there})
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    return pretend


@pytest.fixture(scope="module")
def published_size(published_config):
    """A network as large as the published one, on "meta", with matrices of 4 bits or without."""
    sizes = {"vocab_size": 92544, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    config = {**published_config, **sizes, **heads, "vision": {}, "plora_rank": 256}
    return {four_bit: XComposerNetwork(config, four_bit) for four_bit in (None, torch.bfloat16)}


@pytest.mark.parametrize("strategy", ["auto", "balanced", "sequential"])
def test_two_gpus_share_the_layers_and_the_first_sees_the_image(gpus, published_size, strategy):
    gpus(12, 12)
    found = places(published_size[None], CPU, torch.bfloat16, strategy, WHOLE)
    assert {found[name] for name in BEFORE} == {0} and found["lm_head"] == 1
    layers = [found[f"language.layers.{index}"] for index in range(32)]  # each on one device
    assert layers == sorted(layers) and set(layers) == {0, 1}
    if strategy != "sequential":
        assert 12 <= layers.count(0) <= 16


def test_four_bits_need_less_room(gpus, published_size):
    gpus(12, 12)
    assert places(published_size[torch.bfloat16], CPU, torch.bfloat16, "sequential", WHOLE) == {"": 0}


def test_gpus_that_are_too_small(gpus, published_config, published_tensors):
    gpus(1e-4, 1e-4)
    with pytest.raises(ModelUnavailableError, match="GPUs are too small"):
        from_checkpoint(published_config, published_tensors, device_map="auto")


def test_the_most_exact_entry_counts():
    found = {"": "cpu", "language": "meta", "language.layers.1": "cpu"}
    assert place_of("language.layers.1.mlp.up_proj.base.weight", found) == CPU
    assert place_of("language.layers.10.mlp.up_proj.base.weight", found) == torch.device("meta")
    assert place_of("lm_head.weight", found) == CPU


@pytest.mark.parametrize("family", MODULES)
@pytest.mark.parametrize("four_bit", [False, True])
@pytest.mark.parametrize("method", ["none", "fastv", "visionzip"])
def test_a_model_under_accelerates_hooks_chats_as_one_without(request, image, family, method, four_bit):
    """What spreads a model over GPUs is a hook around every module; here all of them are on the CPU."""
    directory = request.getfixturevalue(f"wide_{family}" if four_bit else family)
    plain, hooked = (load_model(directory, "cpu", four_bit=four_bit) for _ in range(2))
    device_map = full_map(family, len(hooked.decoder.layers))
    dispatch_model(hooked.hf, device_map, main_device="cpu", force_hooks=True)
    projection = hooked.decoder.layers[0].self_attn.q_proj
    assert hasattr(getattr(projection, "base", projection), "_hf_hook")
    answers = []
    for each in (plain, hooked):
        session = ChatSession(each, image, method=method, rate=0.5)
        answers.append(
            [list(session.ask(question, max_new_tokens=6)) for question in ("how many", "what color")]
        )
    assert answers[0] == answers[1]
    assert hooked.device == CPU
    remove_hook_from_submodules(hooked.hf)


@pytest.mark.parametrize("without", [(), ("language.rotary_emb",)])
def test_layers_elsewhere_are_brought_what_they_read(
    published_config, published_tensors, monkeypatch, without
):
    """With the CPU as the first GPU, and "meta", which holds no numbers, as the second.

    The map need not name what has buffers only.
    """
    monkeypatch.setattr("accelerate.dispatch_model", partial(dispatch_model, main_device="cpu"))
    moved = ("language.layers.1", "language.layers.2", "language.norm")
    device_map = full_map("xcomposer_checkpoint", 3, "meta", moved)
    device_map = {name: place for name, place in device_map.items() if name not in without}
    model = from_checkpoint(published_config, published_tensors, device_map=device_map)
    assert model.device == CPU
    for name, tensor in [*model.hf.named_parameters(), *model.hf.named_buffers()]:
        assert tensor.is_meta == name.startswith(moved)
    mask = torch.tensor([[False, True, True, False]])
    states = hidden_states(model.decoder, torch.randn(1, 4, model.width), image_mask=mask)
    assert states.is_meta and states.shape == (1, 4, model.width)


def test_buffers_go_where_the_weights_around_them_go(published_config, published_tensors):
    """No checkpoint holds them; "meta" stands for a GPU."""
    hf = from_checkpoint(published_config, published_tensors, device="meta").hf
    buffers = dict(hf.named_buffers())
    assert {"language.rotary_emb.inv_freq", "tower.embeddings.position_ids"} <= set(buffers)
    assert all(tensor.is_meta for tensor in [*buffers.values(), *hf.parameters()])


@pytest.mark.parametrize("part", BEFORE)
def test_a_device_map_may_not_part_encoder_and_embeddings(published_config, published_tensors, part):
    device_map = full_map("xcomposer_checkpoint", 3, "meta", [part])
    with pytest.raises(InvalidOptionError, match="splits"):
        from_checkpoint(published_config, published_tensors, device_map=device_map)


def test_nor_may_that_of_a_model_which_transformers_loads(checkpoint):
    parts = {name: torch.zeros(1, device=place) for name, place in (("tower", "cpu"), ("embeddings", "meta"))}
    with pytest.raises(InvalidOptionError, match="splits"):
        placement.require_together(parts.values())
    assert load_model(checkpoint, "cpu", device_map={"": "cpu"}).device == CPU


def test_a_device_map_of_nothing_but_parameters(published, published_config, published_tensors, image):
    """Buffers, which it need not name, go where an image's tokens pass."""
    names = [name for name, _ in published.hf.named_parameters()]
    device_map = {name: "meta" if name.startswith("lm_head") else "cpu" for name in names}
    found = places(published.hf, CPU, torch.float32, device_map, WHOLE)
    assert all(place_of(name, found) == CPU for name, _ in published.hf.named_buffers())
    device_map = dict.fromkeys(device_map, "cpu")
    model = from_checkpoint(published_config, published_tensors, device_map=device_map)
    assert torch.equal(model.encode(image).embeddings, published.encode(image).embeddings)


def test_a_device_map_of_nothing_but_parameters_loads_a_directory(xcomposer_checkpoint, xcomposer):
    device_map = {name: "cpu" for name, _ in xcomposer.hf.named_parameters()}
    assert load_model(xcomposer_checkpoint, "cpu", device_map=device_map).device == CPU


def test_a_device_map_that_forgets_something(published_config, published_tensors):
    device_map = full_map("xcomposer_checkpoint", 2)
    with pytest.raises(InvalidOptionError, match=r"does not say where language\.layers\.2\."):
        from_checkpoint(published_config, published_tensors, device_map=device_map)


@pytest.mark.parametrize("family", MODULES)
def test_a_device_map_by_name_needs_gpus(request, monkeypatch, family):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelUnavailableError, match="no GPU to spread"):
        load_model(request.getfixturevalue(family), "cpu", device_map="auto")


@pytest.mark.parametrize(
    ("device_map", "said"),
    [
        ("everywhere", "Unknown device map"),
        ({"": "gpu!"}, "is not a valid device"),
        ({"": "disk"}, "is not a valid device"),
    ],
)
def test_a_device_map_of_nonsense(checkpoint, device_map, said):
    with pytest.raises(InvalidOptionError, match=said):
        load_model(checkpoint, "cpu", device_map=device_map)


def test_a_device_map_to_what_is_not_here(checkpoint, monkeypatch):
    with pytest.raises(ModelUnavailableError, match="no cuda:99"):
        load_model(checkpoint, "cpu", device_map={"": 99})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InvalidOptionError, match="remove the CPU from the device map"):
        load_model(checkpoint, "cpu", device_map={"model": 0, "lm_head": "cpu"})
