"""Tokens leave where a pruning says, by the attention of the layer before."""

import torch

from compressor.decoding import Pruning, Request, prefill


@torch.no_grad()
def test_the_layers_from_k_on_read_the_kept_tokens_only_at_their_old_positions(model, sequences):
    kept, seen = torch.tensor([0, 2, 3, 8, 9, 10]), []
    pruning = Pruning(1, 9, lambda attention: seen.append(attention) or kept[:5])
    request = Request(pruning=pruning)
    prefill(model.decoder, [request], [sequences[2][:11]])
    x, attention = first_layer(model, sequences[2][None, :11])
    torch.testing.assert_close(seen[0], attention[:, 9, :10], atol=1e-5, rtol=0)
    assert pruning.kept.tolist() == kept[:5].tolist()
    assert request.position == 11 and [lengths[0] for lengths in request.cache.lengths] == [11, 6, 6]
    x, positions = x[:, kept], kept[None]
    for layer in model.decoder.layers[1:]:
        x = layer(x, position_embeddings=model.decoder.rotary(x, position_ids=positions))
    expected = model.hf.lm_head(model.decoder.norm(x[0, -1]))
    torch.testing.assert_close(request.logits, expected, atol=1e-5, rtol=0)


def first_layer(model, x):
    """The output (1, L, d) of the first layer and its attention (heads, L, L), by the formula in float64."""
    layer, length = model.decoder.layers[0], x.shape[1]
    cos, sin = model.decoder.rotary(x, position_ids=torch.arange(length)[None])
    states = layer.input_layernorm(x)[0]
    q, k = (
        project(states).view(length, -1, cos.shape[-1]).transpose(0, 1)
        for project in (layer.self_attn.q_proj, layer.self_attn.k_proj)
    )
    half = cos.shape[-1] // 2
    q, k = (each * cos + torch.cat([-each[..., half:], each[..., :half]], -1) * sin for each in (q, k))
    k = k.repeat_interleave(len(q) // len(k), dim=0)
    scores = q.double() @ k.double().mT / cos.shape[-1] ** 0.5
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    attention = scores.masked_fill(future, float("-inf")).softmax(-1).float()
    return layer(x, position_embeddings=(cos, sin)), attention


def test_a_choice_that_was_made_before_is_not_made_again(model, sequences):
    kept = torch.tensor([1, 4, 5])
    request = Request(pruning=Pruning(2, 6, lambda attention: 1 / 0, kept))
    with torch.no_grad():
        prefill(model.decoder, [request], [sequences[0]])
    assert [lengths[0] for lengths in request.cache.lengths] == [7, 7, 3]
