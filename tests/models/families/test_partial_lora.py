"""The mask of image tokens: where it acts, that it lasts for one call, and that gradients know it."""

import threading

import pytest
import torch

from compressor.decoding import Pruning, Request, hidden_states, prefill
from compressor.models.base import PromptEmbeddings
from compressor.models.families.xcomposer.partial_lora import PartialLora


@pytest.fixture
def prompt(xcomposer):
    """Nine tokens, of which those at 2 to 5 are an image's."""
    mask = torch.zeros(9, dtype=torch.bool)
    mask[2:6] = True
    return PromptEmbeddings(torch.randn(9, xcomposer.width), mask)


def test_only_image_tokens_get_the_low_rank_part():
    linear = PartialLora(torch.nn.Linear(6, 5, bias=False), rank=2, scale=0.5)
    assert type(linear.base) is torch.nn.Linear  # what quantisation looks for
    x = torch.randn(1, 4, 6)
    assert torch.equal(linear(x), linear.base(x))


@torch.no_grad()
def test_every_projection_of_every_layer_is_partial(xcomposer, prompt):
    """Against plain matrices: W for text and W + B A for the image, layer by layer."""
    for layer in xcomposer.hf.language.layers:
        linears, calls = [each for each in layer.modules() if isinstance(each, PartialLora)], []

        def record(module, inputs, output, calls=calls):
            calls.append((module, inputs[0], output))

        handles = [each.register_forward_hook(record) for each in linears]
        x = prompt.embeddings[None]
        rotary = xcomposer.decoder.rotary(x, position_ids=torch.arange(9)[None])
        layer(x, image_mask=prompt.image_mask[None], position_embeddings=rotary)
        for handle in handles:
            handle.remove()
        assert len(calls) == len(linears) == 7
        for each, read, written in calls:
            w, low = each.base.weight, each.lora_b.weight @ each.lora_a.weight
            matrices = torch.where(prompt.image_mask[:, None, None], w + low, w)  # (L, out, in)
            expected = torch.einsum("loi,li->lo", matrices, read[0])
            torch.testing.assert_close(written[0], expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_hidden_states_equal_the_language_model_that_is_given_the_mask(xcomposer, prompt):
    embeds, mask = prompt.embeddings[None], prompt.image_mask[None]
    states = hidden_states(xcomposer.decoder, embeds, image_mask=mask)
    stock = xcomposer.hf.language(inputs_embeds=embeds, image_mask=mask, use_cache=False).last_hidden_state
    torch.testing.assert_close(states, stock, atol=1e-5, rtol=0)
    text = hidden_states(xcomposer.decoder, embeds)
    assert torch.equal(text, hidden_states(xcomposer.decoder, embeds, image_mask=torch.zeros_like(mask)))
    assert (states - text).abs()[0, 2:].max() > 0.1


@torch.no_grad()
def test_text_costs_nothing_more(xcomposer, monkeypatch):
    """Steps and later turns never touch the low-rank matrices."""
    request = Request()
    prefill(xcomposer.decoder, [request], [xcomposer.embed_ids([1, -1, 5], torch.randn(4, xcomposer.width))])
    for layer in xcomposer.hf.language.layers:
        monkeypatch.setattr(layer.self_attn.q_proj.lora_a, "forward", lambda x: 1 / 0)
    prefill(xcomposer.decoder, [request], [xcomposer.embed_ids([7, 8], torch.randn(4, xcomposer.width))])
    with pytest.raises(ZeroDivisionError):
        prefill(xcomposer.decoder, [Request()], [xcomposer.embed_ids([1, -1], torch.randn(4, 96))])


def test_other_models_never_see_a_mask(model):
    prompt = model.embed_ids([1, 4, 5], torch.randn(3, model.width))
    assert prompt.image_mask.tolist() == [False, True, True, True, False]
    embeds, mask = prompt.embeddings[None], prompt.image_mask[None]
    with_mask = hidden_states(model.decoder, embeds, image_mask=mask)
    assert torch.equal(with_mask, hidden_states(model.decoder, embeds))


def test_a_layer_recomputed_in_the_backward_pass_sees_its_own_mask(xcomposer, prompt):
    gradients = []
    for checkpointed, mask in ((False, prompt.image_mask), (True, prompt.image_mask), (True, None)):
        embeds = prompt.embeddings.clone().requires_grad_()
        mask = None if mask is None else mask[None]
        states = hidden_states(xcomposer.decoder, embeds[None], checkpointed, mask)
        states[0, -1].square().sum().backward()
        gradients.append(embeds.grad)
    plain, saved, text = gradients
    torch.testing.assert_close(saved, plain, atol=1e-5, rtol=1e-5)
    assert plain[2:6].abs().sum() > 0 and (plain - text).abs().max() > 1e-2


def test_two_threads_do_not_mix_their_masks(xcomposer, prompt):
    """Both are held inside the same layer at the same time."""
    masks = [prompt.image_mask, ~prompt.image_mask, torch.zeros(9, dtype=torch.bool)]
    with torch.no_grad():
        alone = [
            hidden_states(xcomposer.decoder, prompt.embeddings[None], image_mask=mask[None]) for mask in masks
        ]
    barrier, found = threading.Barrier(len(masks), timeout=60), [None] * len(masks)

    @torch.no_grad()
    def read(index):
        found[index] = hidden_states(
            xcomposer.decoder, prompt.embeddings[None], image_mask=masks[index][None]
        )

    def wait(*_):
        barrier.wait()

    norms = [layer.input_layernorm for layer in xcomposer.hf.language.layers]
    handles = [each.register_forward_hook(wait) for each in norms]
    threads = [threading.Thread(target=read, args=(index,)) for index in range(len(masks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for handle in handles:
        handle.remove()
    for mine, expected in zip(found, alone, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_pruning_inside_the_decoder_takes_the_mask_along(xcomposer, prompt):
    """Against the layers called by hand: all tokens in the first, the kept ones at their places above."""
    kept = torch.tensor([0, 1, 3, 5, 6, 7, 8])
    request = Request(pruning=Pruning(1, 8, lambda attention: kept))
    prefill(xcomposer.decoder, [request], [prompt])
    x, places, mask = prompt.embeddings[None], torch.arange(9)[None], prompt.image_mask[None]
    for index, layer in enumerate(xcomposer.hf.language.layers):
        if index == 1:
            x, places, mask = x[:, kept], places[:, kept], mask[:, kept]
        rotary = xcomposer.decoder.rotary(x, position_ids=places)
        x = layer(x, image_mask=mask, position_embeddings=rotary)
    expected = xcomposer.decoder.head(xcomposer.decoder.norm(x[0, -1]))
    torch.testing.assert_close(request.logits, expected, atol=1e-5, rtol=0)
