"""FastV against the published code's own numbers, through the functions that a chat calls."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from compressor import ChatSession, get_method, token_budget
from compressor.decoding import Pruning, Request, prefill
from compressor.errors import DecidedInDecoderError, InvalidOptionError
from compressor.methods.fastv import select_tokens
from compressor.models.families.llama_decoder import llama_decoder

FIXTURES = Path(__file__).parents[1] / "fixtures"
QUESTIONS = ("How many cats are there?", "What color is the dog?", "Is it red?")


@pytest.mark.parametrize("m", [8, 16, 32])
def test_the_selection_is_the_published_one(m):
    data = np.load(FIXTURES / f"fastv_sel_n64_m{m}.npz")
    attention, start = torch.from_numpy(data["attn_last_row"]), int(data["sys_len"])
    kept = select_tokens(attention, start, int(data["n_image"]), m)
    assert kept.tolist() == data["keep"].tolist()
    assert (data["hidden"][kept] == data["hidden_kept"]).all()


def test_budgets_are_rounded_as_in_the_published_cached_code():
    data = np.load(FIXTURES / "fastv_rounding.npz")
    for n, counts in ((64, data["kept_round_64"]), (576, data["kept_round_576"])):
        assert [token_budget(n, float(r)) for r in data["r"]] == counts.tolist()


@pytest.fixture(scope="module")
def published():
    data = np.load(FIXTURES / "fastv_e2e_k2_r75.npz")
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=5,
        num_attention_heads=4,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict({k[3:]: torch.from_numpy(data[k]) for k in data.files if k.startswith("w::")})
    return data, llama_decoder(model.model, model.lm_head)


def request_with_pruning(data, length):
    n = int(data["n_image"])
    choose = partial(
        select_tokens,
        image_start=int(data["sys_len"]),
        n=n,
        budget=token_budget(n, float(data["fastv_r"])),
    )
    return Request(pruning=Pruning(int(data["fastv_k"]), length - 1, choose))


@torch.no_grad()
def test_prefill_and_cached_decoding_agree_with_the_published_code(published):
    data, decoder = published
    embeds = torch.from_numpy(data["inputs_embeds"])
    request = request_with_pruning(data, len(embeds))
    chunks = [embeds, *torch.from_numpy(data["decode_embeds"])[:, None]]
    for number, chunk in enumerate(chunks):
        prefill(decoder, [request], [chunk])
        expected = torch.from_numpy(data["logits_last_cache"][number])
        torch.testing.assert_close(request.logits, expected, atol=1e-4, rtol=0)
        assert [lengths[0] for lengths in request.cache.lengths] == data["cache_lens"][number].tolist()
    assert request.pruning.kept.tolist() == data["keep_prefill"].tolist()
    assert request.position == 81  # positions go on from the full length


@torch.no_grad()
def test_reselection_agrees_with_the_published_code_without_a_cache(published):
    data, decoder = published
    embeds = torch.from_numpy(np.concatenate([data["inputs_embeds"], data["decode_embeds"]]))
    for number in range(4):
        length = 78 + number
        request = request_with_pruning(data, length)
        prefill(decoder, [request], [embeds[:length]])
        assert request.pruning.kept.tolist() == data[f"keep_nocache_step{number}"].tolist()
        expected = torch.from_numpy(data["logits_last_nocache"][number])
        torch.testing.assert_close(request.logits, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_pruned_and_whole_requests_share_a_batch(published):
    data, decoder = published
    embeds = torch.from_numpy(data["inputs_embeds"])
    whole, pruned, shorter = Request(), request_with_pruning(data, 78), request_with_pruning(data, 76)
    prefill(decoder, [whole, pruned, shorter], [embeds, embeds, embeds[:76]])
    last = torch.from_numpy(data["full_logits_unpruned"][-1])
    torch.testing.assert_close(whole.logits, last, atol=1e-4, rtol=0)
    expected = torch.from_numpy(data["logits_last_cache"][0])
    torch.testing.assert_close(pruned.logits, expected, atol=1e-4, rtol=0)
    alone = request_with_pruning(data, 76)
    prefill(decoder, [alone], [embeds[:76]])
    torch.testing.assert_close(shorter.logits, alone.logits, atol=1e-5, rtol=0)


@given(st.integers(2, 40), st.integers(0, 5), st.integers(1, 6), st.data())
def test_all_text_and_the_strongest_image_tokens_stay(n, start, after, data):
    budget = data.draw(st.integers(1, n))
    seed = data.draw(st.integers(0, 1000))
    attention = torch.rand(3, start + n + after, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    kept = select_tokens(attention, start, n, budget)
    assert len(kept) == start + budget + after and bool((kept.diff() > 0).all())
    image = kept[(kept >= start) & (kept < start + n)]
    scores = attention.mean(0)
    dropped = set(range(start, start + n)) - set(image.tolist())
    assert all(scores[image].min() >= scores[j] for j in dropped)


def test_attention_that_is_not_a_number_hangs_nothing():
    assert select_tokens(torch.full((2, 9), torch.nan), 1, 6, 3).tolist() == [0, 1, 2, 3, 7, 8]


def test_the_projection_comes_with_the_first_answer(model, image):
    session = ChatSession(model, image, method="fastv", rate=0.75)
    with pytest.raises(DecidedInDecoderError):
        _ = session.projection
    assert session.state["projections"] == {}
    list(session.ask(QUESTIONS[0], max_new_tokens=3))
    p, n = session.projection, len(session.tokens)
    assert (p.m, p.n, p.stage) == (token_budget(n, 0.75), n, "decoder")
    assert torch.equal(p.weights.sum(1), torch.ones(p.m))
    lengths = [each[session.prefix_cache.request.row] for each in session.prefix_cache.request.cache.lengths]
    assert [lengths[0] - length for length in lengths] == [0, 0] + [n - p.m] * (len(lengths) - 2)


def test_the_first_choice_stays_unless_reselection_is_asked_for(model, image):
    frozen = ChatSession(model, image, method="fastv", rate=0.75)
    anew = ChatSession(model, image, method="fastv", rate=0.75, reselect=True)
    seen = {id(frozen): [], id(anew): []}
    for question in QUESTIONS:
        for session in (frozen, anew):
            list(session.ask(question, max_new_tokens=3))
            seen[id(session)].append(session.projection.weights.argmax(1).tolist())
    first, *later = seen[id(frozen)]
    assert later == [first, first] and seen[id(anew)][0] == first
    assert any(choice != first for choice in seen[id(anew)][1:])
    assert frozen.turns[1].stats.prompt_tokens < anew.turns[1].stats.prompt_tokens


def test_a_rebuilt_cache_repeats_the_choice_of_turn_one(model, image):
    session = ChatSession(model, image, method="fastv", rate=0.75)
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=3))
    kept, expected = session.projection.weights, session.prefix_cache.request.logits
    resumed = ChatSession.resume(model, session.state)
    assert torch.equal(resumed.projection.weights, kept)
    list(resumed.regenerate(max_new_tokens=3))
    assert torch.equal(resumed.projection.weights, kept)
    torch.testing.assert_close(resumed.prefix_cache.request.logits, expected, atol=1e-5, rtol=0)
    session.configure(rate=0.5)
    session.configure(rate=0.75)
    list(session.regenerate(max_new_tokens=3))
    assert torch.equal(session.projection.weights, kept)
    torch.testing.assert_close(session.prefix_cache.request.logits, expected, atol=1e-5, rtol=0)


def test_another_first_question_chooses_anew(model, image):
    session = ChatSession(model, image, method="fastv", rate=0.9)
    list(session.ask(QUESTIONS[0], max_new_tokens=2))
    first = session.projection
    list(session.regenerate(max_new_tokens=2))
    assert session.projection is first
    session.undo()
    list(session.ask(QUESTIONS[1], max_new_tokens=2))
    fresh = ChatSession(model, image, method="fastv", rate=0.9)
    list(fresh.ask(QUESTIONS[1], max_new_tokens=2))
    assert session.projection is not first
    assert torch.equal(session.projection.weights, fresh.projection.weights)
    torch.testing.assert_close(
        session.prefix_cache.request.logits, fresh.prefix_cache.request.logits, atol=1e-5, rtol=0
    )


def test_k_must_lie_inside_the_language_model(model):
    layers = len(model.decoder.layers)
    assert get_method("fastv", model=model, layer=layers - 1).layer == layers - 1
    with pytest.raises(InvalidOptionError, match=f"at most {layers - 1}"):
        get_method("fastv", model=model, layer=layers)
    with pytest.raises(InvalidOptionError, match="at least 1"):
        get_method("fastv", layer=0)
