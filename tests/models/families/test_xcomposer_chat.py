"""A chat with InternLM-XComposer-2.5, loaded from a directory."""

import pickle

import pytest
import torch
from PIL import Image

from compressor import ChatSession, Projection, list_methods
from compressor.chat.protocol import is_complete
from compressor.geometry import PATCH, join_layouts

QUESTIONS = ("How many cats are there?", "What color is the dog?", "Is it red?")
SHAPES = ((300, 120), (90, 200), (168, 168))


def picture(size):
    return Image.effect_noise(size, 120).convert("RGB").resize(size)


def one_pass(model, session):
    """Logits of the last token that the model has read, from one forward without a cache."""
    ids = session.prefix_cache.ids
    at = ids.index(model.image_token_id)
    pieces = [torch.tensor(ids[:at]), session.reduced, torch.tensor(ids[at + 1 :])]
    with torch.no_grad():
        return model.logits(pieces)[-1]


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(("method", "rate"), [("none", 0), ("metacompress", 0.9), ("spatial", 0.5)])
def test_three_cached_turns_equal_one_pass(xcomposer, size, method, rate):
    session = ChatSession(xcomposer, picture(size), method=method, rate=rate)
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=5))
        torch.testing.assert_close(
            session.prefix_cache.request.logits, one_pass(xcomposer, session), atol=1e-4, rtol=0
        )
    assert session.prefix_cache.request.position == len(session.prefix_cache.ids) + session.projection.m - 1


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("info", list_methods(), ids=lambda info: info.name)
def test_every_method_at_every_rate(xcomposer, info, size):
    image = picture(size)
    for rate in (0, 0.5, 0.9, 0.99):
        session = ChatSession(xcomposer, image, method=info.name, rate=rate)
        for question in QUESTIONS[:2]:
            list(session.ask(question, max_new_tokens=3))
        n = len(session.tokens)
        assert session.projection.m == (n if info.name == "none" else session.budget)
        assert len(session.projection.layout) == session.projection.n
        if rate == 0:
            assert session.reduced is session.tokens.embeddings


def test_a_projection_before_the_projector_reads_the_blocks_of_all_views(xcomposer):
    tokens = xcomposer.encode(picture((300, 120)))
    layout = join_layouts([tile.layout for tile in tokens.tiles])
    keep = torch.eye(len(layout))[tokens.tile_order.argsort()]  # every patch, in reading order
    patches = torch.from_numpy(tokens.layout.kinds == PATCH)
    reduced = xcomposer.compress(tokens, Projection(keep, layout, "vision"))
    torch.testing.assert_close(reduced, tokens.embeddings[patches], atol=1e-4, rtol=0)
    mean = xcomposer.compress(tokens, Projection(torch.full((1, len(layout)), 0.5), layout, "vision"))
    expected = xcomposer.hf.vision_proj(0.5 * tokens.features[patches].sum(0, keepdim=True))
    torch.testing.assert_close(mean, expected, atol=1e-3, rtol=1e-4)


def test_what_heuristics_read_of_blocks_is_made_of_their_patches(xcomposer):
    """Block (1, 2) of a view of 12 x 12 patches holds the patches of rows 2 and 3 in columns 4 and 5."""
    image, want = picture((300, 120)), frozenset({"cls_attention", "keys", "queries"})
    seen = {}
    layer = xcomposer.hf.tower.encoder.layers[-1].self_attn
    handle = layer.k_proj.register_forward_hook(lambda module, inputs, output: seen.update(keys=output))
    tokens = xcomposer.encode(image, want)
    handle.remove()
    block, patches = 1 + 1 * 6 + 2, [1 + 12 * row + column for row in (2, 3) for column in (4, 5)]
    for index, tile in enumerate(tokens.tiles):
        assert tile.keys.shape == (37, 4, 8) and tile.last_queries.shape == (37, 32)
        mean = seen["keys"][index, patches].mean(0)
        torch.testing.assert_close(tile.last_keys[block], mean)
        torch.testing.assert_close(tile.keys[block].flatten(), mean)
        torch.testing.assert_close(tile.last_keys[0], seen["keys"][index, 0])
        torch.testing.assert_close(tile.cls_attention.sum(1), torch.ones(4))
        assert tile.cls_feature.shape == tile.features.shape[1:]


def test_either_stop_token_ends_an_answer_and_the_transcript_holds_the_turns_own(xcomposer):
    session = ChatSession(xcomposer, picture((168, 168)), method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=2))
    turn, ids = session.turns[0], xcomposer.stop_ids
    for end in ids:
        turn.answer_ids[:] = [9, end]
        assert is_complete(xcomposer, turn.answer_ids, 100)
        assert session._transcript(1, [5]) == [*turn.prompt_ids, 9, xcomposer.eos_id, 5]
    turn.answer_ids[:] = [9, 8]
    assert not is_complete(xcomposer, turn.answer_ids, 100)
    assert session._transcript(1, [5]) == [*turn.prompt_ids, 9, 8, xcomposer.eos_id, 5]


def test_a_chat_goes_on_elsewhere(xcomposer):
    session = ChatSession(xcomposer, picture((300, 120)), method="fastv", rate=0.9, layer=1)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    resumed = ChatSession.resume(xcomposer, pickle.loads(pickle.dumps(session.state)))
    for each in (session, resumed):
        list(each.ask(QUESTIONS[1], max_new_tokens=4))
    assert resumed.turns[1].answer_ids == session.turns[1].answer_ids
    torch.testing.assert_close(
        resumed.prefix_cache.request.logits, session.prefix_cache.request.logits, atol=1e-4, rtol=0
    )
