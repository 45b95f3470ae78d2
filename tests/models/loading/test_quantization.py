"""4-bit weights of every family, made by bitsandbytes itself, which computes on a CPU too."""

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from compressor import ChatSession, load_model
from compressor.decoding import Request, prefill
from compressor.errors import ModelMismatchError
from compressor.evaluation.efficiency import peak_bytes
from compressor.models.families.xcomposer.model import from_checkpoint
from compressor.models.loading import memory
from compressor.models.loading.memory import PACKED_BYTES
from compressor.models.loading.quantization import is_four_bit, without_weights

LAYERS = {  # start of the names of the decoder's layers
    "wide_checkpoint": "model.language_model.layers.",
    "wide_next_checkpoint": "model.language_model.layers.",
    "wide_xcomposer_checkpoint": "language.layers.",
}
HALF_GAP = (1 - 0.6961928) / 2  # between the two largest of NF4's 16 numbers, which are the furthest apart


def matrices(model):
    """The layers of a model that are in 4 bits, by name."""
    return {name: each for name, each in model.hf.named_modules() if isinstance(each, Linear4bit)}


@torch.no_grad()
def dequantised(layer):
    """What the layer multiplies by, however this version on this processor packs it."""
    return layer(torch.eye(layer.in_features)).T.contiguous()


@pytest.fixture(scope="module", params=LAYERS)
def family(request):
    """Name of a fixture with a checkpoint's directory."""
    return request.param


@pytest.fixture(scope="module")
def model(request, family):
    """The float32 model."""
    return load_model(request.getfixturevalue(family), "cpu")


@pytest.fixture(scope="module")
def small(request, family):
    """The same with 4-bit weights."""
    small = load_model(request.getfixturevalue(family), "cpu", four_bit=True)
    for layer in matrices(small).values():
        layer.support_avx512bf16_for_cpu = False  # a kernel of some processors, which computes in bfloat16
    return small


@pytest.fixture(scope="module")
def unpacked(request, family, small):
    """A float32 model with the matrices that the 4-bit model stands for."""
    made = load_model(request.getfixturevalue(family), "cpu")
    for name, layer in matrices(small).items():
        made.hf.get_parameter(f"{name}.weight").data.copy_(dequantised(layer))
    return made


@torch.no_grad()
def logits(model, image):
    request = Request()
    prompt = model.embed_ids([1, model.image_token_id, 5, 6, 7], model.encode(image).embeddings)
    prefill(model.decoder, [request], [prompt])
    return request.logits


def test_the_decoders_matrices_and_nothing_else(family, model, small):
    linear = [name for name, each in model.hf.named_modules() if isinstance(each, nn.Linear)]
    decoder = [name for name in linear if name.startswith(LAYERS[family])]
    found = matrices(small)
    assert list(found) == [name for name in decoder if not name.endswith((".lora_a", ".lora_b"))]
    assert len(found) == 3 * 7
    for layer in found.values():
        state = layer.weight.quant_state
        assert state.quant_type == "nf4" and state.nested and layer.compute_dtype == torch.float32
    others = {name: each for name, each in small.hf.named_parameters() if not is_four_bit(each)}
    assert len(others) == len(list(model.hf.parameters())) - len(found)
    for name, parameter in others.items():
        assert torch.equal(parameter, model.hf.get_parameter(name)) and not parameter.requires_grad


def test_every_number_is_near_the_one_it_stands_for(model, small):
    """Within half of NF4's largest gap, in units of the largest number of its 64; so no row has moved."""
    for name, layer in matrices(small).items():
        blocks = model.hf.get_parameter(f"{name}.weight").view(-1, 64)
        error = (dequantised(layer).view(-1, 64) - blocks).abs() / blocks.abs().amax(1, keepdim=True)
        assert error.max() < 1.05 * HALF_GAP  # the scales are rounded, too


def test_it_computes_what_its_matrices_say(unpacked, small, image):
    torch.testing.assert_close(logits(small, image), logits(unpacked, image), atol=1e-4, rtol=1e-5)
    assert torch.equal(small.encode(image).embeddings, unpacked.encode(image).embeddings)


def test_a_kernel_of_the_processor_computes_what_the_matrices_say(request, family, unpacked, image):
    """Some processors have one that packs the matrices anew and computes in bfloat16."""
    found = load_model(request.getfixturevalue(family), "cpu", four_bit=True)
    assert torch.cosine_similarity(logits(found, image), logits(unpacked, image), dim=0) > 0.999


@pytest.mark.parametrize("name", ["checkpoint", "next_checkpoint", "xcomposer_checkpoint"])
def test_sides_that_kernels_of_cpus_get_wrong_are_refused(request, name):
    with pytest.raises(ModelMismatchError, match=r"4-bit .* on a CPU .*multiple of 64.*leave 4-bit out"):
        load_model(request.getfixturevalue(name), "cpu", four_bit=True)


def test_logits_stay_close_to_those_of_the_float_model(model, small, image):
    found, expected = logits(small, image), logits(model, image)
    assert torch.cosine_similarity(found, expected, dim=0) > 0.8


def test_a_matrix_takes_little_more_than_half_a_byte_per_number(small):
    for layer in matrices(small).values():
        weight, state = layer.weight, layer.weight.quant_state
        taken = weight.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
        numbers = layer.in_features * layer.out_features
        assert weight.nbytes == numbers / 2
        assert taken == pytest.approx(PACKED_BYTES * numbers, abs=4)  # its last block of scales is not full


def test_it_chats_as_the_model_with_those_matrices(unpacked, small, image):
    for method in ("none", "metacompress", "fastv"):
        answers = []
        for each in (unpacked, small):
            session = ChatSession(each, image, method=method, rate=0.5)
            answers.append([list(session.ask(asked, max_new_tokens=6)) for asked in ("how many", "is it")])
        assert answers[0] == answers[1]


def test_gradients_pass_through_to_the_image_tokens(unpacked, small):
    """As training needs them: the matrices themselves are frozen."""
    gradients = []
    for each in (unpacked, small):
        x = torch.linspace(-1, 1, 7 * each.width).view(1, 7, -1).requires_grad_()
        rotary = each.decoder.rotary(x, position_ids=torch.arange(7)[None])
        each.decoder.layers[0](x, position_embeddings=rotary, attention_mask=None).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-3, rtol=1e-4)


def test_loading_holds_one_matrix_that_is_not_quantised_yet(wide_config, wide_tensors):
    """At the worst moment the finished model and one matrix of it, with its scales, are in memory."""
    made = []

    def load():
        made.append(from_checkpoint(wide_config, wide_tensors, dtype=torch.bfloat16, four_bit=True))

    held = list(wide_tensors.values())
    peak = peak_bytes(load, torch.device("cpu"), held) - sum(tensor.nbytes for tensor in held)
    network = made[0].hf
    finished = sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])
    matrix = 2 * max(each.in_features * each.out_features for each in matrices(made[0]).values())
    assert finished < peak < finished + 1.2 * matrix


def test_a_layer_is_made_without_memory():
    made = without_weights(nn.Linear(64, 32, bias=False), torch.bfloat16)
    assert made.weight.is_meta and made.bias is None and made.compute_dtype == torch.bfloat16
    assert is_four_bit(made.weight) and not is_four_bit(nn.Linear(2, 2).weight)


def test_less_memory_is_asked_for(wide_checkpoint, monkeypatch):
    size = (wide_checkpoint / "model.safetensors").stat().st_size
    monkeypatch.setattr(memory, "memory", lambda *_: (size // 2, 10**12))
    assert matrices(load_model(wide_checkpoint, "cpu", four_bit=True))
