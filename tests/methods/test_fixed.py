"""A P that was given is the P that is read, and nothing else is accepted."""

import pickle

import pytest
import torch

from compressor import ChatSession, Projection, get_method, list_methods
from compressor.errors import InvalidOptionError, InvalidProjectionError, ModelMismatchError
from compressor.geometry import llava_layout

P = torch.rand(3, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.9])
def test_a_session_reads_the_given_p_at_any_rate(model, image, rate):
    session = ChatSession(model, image, method="fixed", rate=rate, weights=P)
    assert torch.equal(session.projection.weights, P)
    assert session.projection.layout == session.tokens.layout
    torch.testing.assert_close(session.reduced, P @ session.tokens.embeddings)
    list(session.ask("Is it red?", max_new_tokens=3))
    assert session.turns[0].stats.image_tokens == session.image_tokens == 3


def test_tensors_arrays_and_projections_say_the_same(model, image):
    tokens = model.encode(image)
    graph = (P.double() * 1.0).requires_grad_()
    for given in (P, P.numpy(), P.tolist(), graph, Projection(P, llava_layout((56, 56), image_size=56))):
        made = get_method("fixed", weights=given).projection(tokens, 7)
        assert torch.equal(made.weights, P) and not made.weights.requires_grad
        assert made.layout == tokens.layout


def test_what_the_caller_does_to_its_matrix_later_changes_nothing(model, image):
    given = P.clone()
    method = get_method("fixed", weights=given)
    given.zero_()
    assert torch.equal(method.projection(model.encode(image), 3).weights, P)


def test_the_state_survives_pickling(model, image):
    session = ChatSession(model, image, method="fixed", weights=P)
    list(session.ask("Is it red?", max_new_tokens=3))
    resumed = ChatSession.resume(model, pickle.loads(pickle.dumps(session.state)))
    assert torch.equal(resumed.projection.weights, P)
    for chat in (session, resumed):
        list(chat.ask("How many cats are there?", max_new_tokens=3))
    assert resumed.turns[1].answer_ids == session.turns[1].answer_ids


def test_it_is_known_but_not_offered():
    assert "fixed" not in [info.name for info in list_methods()]
    with pytest.raises(InvalidOptionError, match="weights"):
        get_method("fixed")
    with pytest.raises(InvalidOptionError):
        get_method("fixed", weights=P, seed=1)


def test_an_image_of_another_size_is_refused(model, image):
    method = get_method("fixed", weights=torch.rand(3, 10))
    with pytest.raises(ModelMismatchError, match="10 tokens and this one has 16"):
        method.projection(model.encode(image), 3)


@pytest.mark.parametrize("bad", ["text", None, [[1.0], [1.0, 2.0]], torch.rand(16), torch.rand(1, 3, 16)])
def test_what_is_no_matrix_is_refused(bad):
    with pytest.raises(InvalidProjectionError):
        get_method("fixed", weights=bad)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_what_is_no_projection_is_refused(model, image, bad):
    with pytest.raises(InvalidProjectionError):
        get_method("fixed", weights=torch.full((3, 16), bad)).projection(model.encode(image), 3)


def test_a_p_of_another_stage_is_refused():
    vision = Projection(P, llava_layout((56, 56), image_size=56), "vision")
    with pytest.raises(InvalidProjectionError, match="vision"):
        get_method("fixed", weights=vision)


def test_another_matrix_replaces_the_first(model, image):
    first, second = torch.eye(16)[:3], torch.eye(16)[4:9]
    session = ChatSession(model, image, method="fixed", weights=first)
    list(session.ask("is it red?", max_new_tokens=2))
    before = session.projection
    session.configure(method="fixed", weights=first)
    assert session.projection is before
    session.configure(method="fixed", weights=second)
    assert torch.equal(session.projection.weights, second) and len(session.turns) == 1
