"""What several images are reduced to at once is what a chat about each is given."""

import pytest
import torch

from compressor import ChatSession, get_method, token_budget
from compressor.evaluation.answering import reductions
from tests.evaluation.batches import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_images_of_different_n_are_each_given_as_in_a_chat(next_model, image, name):
    method = get_method(name, model=next_model)
    images = [image, image.rotate(90, expand=True), image.rotate(180), image.resize((90, 40))]
    chats = [ChatSession(next_model, each, method, 0.7) for each in images]
    tokens = [chat.tokens for chat in chats]
    assert len({len(each) for each in tokens}) > 1
    found = reductions(next_model, method, tokens, [chat.budget for chat in chats])
    for reduction, chat in zip(found, chats, strict=True):
        torch.testing.assert_close(reduction.image, chat.reduced, atol=1e-5, rtol=0)
        assert reduction.m == chat.image_tokens and not reduction.image.requires_grad
        assert bool(reduction.prune) == chat.prunes_in_decoder


def test_what_leaves_inside_the_decoder_is_decided_by_the_end_of_the_prompt(model, image):
    method, tokens = get_method("fastv"), [model.encode(image)] * 2
    whole, half = reductions(model, method, tokens, [16, 8])
    assert whole.prune is None and whole.m == 16
    pruning = half.prune([1, model.image_token_id, 7, 8])
    assert (pruning.layer, pruning.query, pruning.kept, half.m) == (method.layer, 1 + 16 + 2 - 1, None, 8)


def test_a_function_may_give_the_p_of_all_images(model, image):
    tokens = [model.encode(image), model.encode(image.rotate(90))]
    sample = get_method("sample")
    budgets = [token_budget(16, 0.5)] * 2
    found = reductions(model, lambda seen, m: sample.projections(seen, m)[::-1], tokens, budgets)
    for reduction, each in zip(found, tokens, strict=True):
        assert torch.equal(reduction.image, each.embeddings[1::2])
