"""What methods read of the vision encoder is what a plain forward computes, and only where it is wanted."""

import threading

import pytest
import torch

from compressor.errors import ModelMismatchError
from compressor.models.families.tower_hooks import OFFERED, TowerHooks


@pytest.fixture
def inputs(model, image):
    pixels = model.processor(images=[model._view(image)], return_tensors="pt")["pixel_values"]
    return pixels.to(model.dtype)


@torch.no_grad()
def test_attention_and_projections_equal_an_eager_forward(model, image, inputs):
    tokens = model.encode(image, OFFERED)
    tower = model.hf.model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        output = tower(inputs, output_hidden_states=True, output_attentions=True)
    finally:
        tower.set_attn_implementation("sdpa")
    layer = model.hf.config.vision_feature_layer
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(tokens.cls_attention, output.attentions[layer][0, :, 0], **close)
    torch.testing.assert_close(tokens.cls_feature, output.hidden_states[layer][0, 0], **close)
    torch.testing.assert_close(tokens.features, output.hidden_states[layer][0, 1:], **close)
    for name, hidden, block in (
        ("keys", output.hidden_states[layer - 1], tower.encoder.layers[layer]),
        ("last_keys", output.hidden_states[-2], tower.encoder.layers[-1]),
    ):
        expected = block.self_attn.k_proj(block.layer_norm1(hidden))[0]
        torch.testing.assert_close(getattr(tokens, name).reshape(expected.shape), expected, **close)
    last = tower.encoder.layers[-1]
    expected = last.self_attn.q_proj(last.layer_norm1(output.hidden_states[-2]))[0]
    torch.testing.assert_close(tokens.last_queries, expected, **close)


def test_nothing_is_there_that_was_not_asked_for(model, image):
    plain = model.encode(image)
    for name in ("cls_feature", "cls_attention", "keys", "last_queries", "last_keys"):
        assert getattr(plain, name) is None
        with pytest.raises(ModelMismatchError, match=name):
            plain.require(name)
    assert model.encode(image, frozenset({"keys"})).cls_attention is None
    with pytest.raises(ModelMismatchError, match="gradients"):
        model.encode(image, frozenset({"gradients"}))


def test_two_threads_record_each_its_own_image(model, image):
    images = [image, image.rotate(180)]
    alone = [model.encode(each, OFFERED) for each in images]
    found = [[], []]

    def work(index):
        found[index] = [model.encode(images[index], OFFERED) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, results in zip(alone, found, strict=True):
        assert len(results) == 20
        for tokens in results:
            torch.testing.assert_close(tokens.keys, expected.keys)
            torch.testing.assert_close(tokens.cls_attention, expected.cls_attention)


def test_a_tower_without_a_class_token_says_so(model):
    layers = model.hf.model.vision_tower.encoder.layers
    hooks = TowerHooks(layers, -2, heads=2, has_cls=False)
    with pytest.raises(ModelMismatchError, match=r"no \[CLS\]"), hooks.recording(frozenset({"keys"})):
        pass
    with hooks.recording(frozenset({"features"})) as sink:
        assert sink == {}
