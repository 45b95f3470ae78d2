"""A chat: the numbers of the stock model, one compression, and a session that survives what people do."""

import time

import pytest
import torch

from compressor import ChatSession, list_methods
from compressor.decoding import Sampling, hidden_states
from compressor.errors import SessionError

QUESTIONS = ("How many cats are there?", "What color is the dog?", "Is it red?")


def full_ids(session):
    """The ids the model has read and the pending one, with the image written out as n placeholders."""
    ids = session._transcript(len(session.turns), [])
    at = ids.index(session.model.image_token_id)
    return ids[:at] + [session.model.image_token_id] * session.projection.m + ids[at + 1 :]


def stock_logits(model, image, ids):
    """Logits (L, vocabulary) of the stock forward on ids with all image tokens written out."""
    pixels = model.processor(images=[model._view(image)], return_tensors="pt")["pixel_values"].to(model.dtype)
    with torch.no_grad():
        return model.hf(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]


@pytest.mark.parametrize("method", ["metacompress", "fastv"])
def test_three_cached_turns_equal_one_stock_forward(any_model, image, method):
    model = any_model
    session = ChatSession(model, image, method=method, rate=0)
    for number, question in enumerate(QUESTIONS):
        before = full_ids(session) if number else []
        list(session.ask(question, max_new_tokens=6))
        ids = full_ids(session)
        start = len(before) if number else 0
        turn = session.turns[-1]
        logits = stock_logits(model, image, ids)
        prompt_end = start + len(turn.prompt_ids) + (0 if number else session.projection.m - 1)
        predicted = logits[prompt_end - 1 : prompt_end - 1 + len(turn.answer_ids)].argmax(-1).tolist()
        assert predicted == turn.answer_ids
        last = logits[prompt_end + len(turn.answer_ids) - 2]
        torch.testing.assert_close(session.prefix_cache.request.logits, last, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", [info.name for info in list_methods()])
def test_rate_0_reads_the_embeddings_bit_for_bit(model, image, method):
    session = ChatSession(model, image, method=method, rate=0)
    assert session.reduced is session.tokens.embeddings
    assert session.projection.is_identity


def test_compressed_chat_equals_the_language_model_on_the_reduced_tokens(any_model, image):
    model = any_model
    session = ChatSession(model, image, method="spatial", rate=0.5)
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=5))
    embeds = model.embed_ids(session.prefix_cache.ids, session.reduced).embeddings[None]
    with torch.no_grad():
        logits = model.hf.lm_head(model.hf.model.language_model(inputs_embeds=embeds).last_hidden_state)
    torch.testing.assert_close(session.prefix_cache.request.logits, logits[0, -1], atol=1e-5, rtol=0)


def test_an_image_is_encoded_and_compressed_once(model, image, monkeypatch):
    calls = []
    encode, compress = type(model).encode_batch, type(model).compress
    monkeypatch.setattr(type(model), "encode_batch", lambda *a: calls.append("encode") or encode(*a))
    monkeypatch.setattr(type(model), "compress", lambda *a: calls.append("compress") or compress(*a))
    session = ChatSession(model, image, method="sample", rate=0.5)
    assert calls == []
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=3))
    list(session.regenerate(max_new_tokens=3))
    assert calls == ["encode", "compress"]
    session.configure(rate=0.75)
    list(session.ask(QUESTIONS[0], max_new_tokens=3))
    assert calls == ["encode", "compress", "compress"]


def test_stats_count_what_was_prefilled(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    deltas = list(session.ask(QUESTIONS[0], max_new_tokens=4))
    first = session.turns[0]
    assert "".join(deltas) == first.answer and not first.stopped
    assert first.stats.image_tokens == 8
    assert first.stats.prompt_tokens == len(first.prompt_ids) + 7  # the image's id stands for 8 tokens
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    second = session.turns[1]
    ended = first.answer_ids[-1] == model.eos_id
    assert second.stats.prompt_tokens == len(second.prompt_ids) + (
        1 if ended else 2
    )  # pending, end of sequence
    entries = session.prefix_cache.request.position
    assert second.stats.kv_cache_bytes == entries * 3 * 2 * 2 * 12 * 4  # layers, k and v, heads, width, bytes
    assert 0 < second.stats.ttft_s <= second.stats.total_s


def test_the_first_token_waits_for_the_encoder_and_says_so(model, image, monkeypatch):
    encode = type(model).encode_batch

    def slow(*arguments):
        time.sleep(0.2)
        return encode(*arguments)

    monkeypatch.setattr(type(model), "encode_batch", slow)
    session = ChatSession(model, image, method="sample", rate=0.5)
    for question in QUESTIONS[:2]:
        list(session.ask(question, max_new_tokens=2))
    assert session.turns[0].stats.ttft_s >= 0.2 > session.turns[1].stats.ttft_s


def test_a_stopped_answer_leaves_a_session_that_goes_on(model, image):
    session = ChatSession(model, image, rate=0.5, method="sample")
    for _ in session.ask(QUESTIONS[0], max_new_tokens=20, temperature=5.0, seed=1):
        session.stop()
    assert session.turns[0].stopped and session.turns[0].stats.new_tokens < 20
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    assert len(session.turns) == 2


def test_a_closed_generator_keeps_the_partial_answer(model, image):
    session = ChatSession(model, image, rate=0.5, method="sample")
    deltas = session.ask(QUESTIONS[0], max_new_tokens=20, temperature=5.0, seed=1)
    text = next(deltas)
    deltas.close()
    assert session.turns[0].stopped and session.turns[0].answer == text
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    resumed = ChatSession.resume(model, session.state)
    resumed.undo()
    list(resumed.ask(QUESTIONS[1], max_new_tokens=4))
    assert resumed.turns[1].answer_ids == session.turns[1].answer_ids


def test_configure_keeps_the_transcript_and_replays_it(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    old = session.turns[0]
    session.configure(method="spatial", rate=0.75)
    assert session.turns == [old] and session.projection.m == 4
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    embeds = model.embed_ids(session.prefix_cache.ids, session.reduced).embeddings[None]
    with torch.no_grad():
        logits = model.hf.lm_head(model.hf.model.language_model(inputs_embeds=embeds).last_hidden_state)
    torch.testing.assert_close(session.prefix_cache.request.logits, logits[0, -1], atol=1e-5, rtol=0)
    assert session.prefix_cache.ids[: len(old.prompt_ids)] == old.prompt_ids


def test_regenerate_reads_one_token_and_says_the_same(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    for question in QUESTIONS[:2]:
        list(session.ask(question, max_new_tokens=4))
    before = session.turns[1]
    list(session.regenerate(max_new_tokens=4))
    assert session.turns[1].answer_ids == before.answer_ids and len(session.turns) == 2
    assert session.turns[1].stats.prompt_tokens == 1


def test_a_new_rate_keeps_the_options_of_the_method(model, image):
    session = ChatSession(model, image, method="random", rate=0.5, seed=3)
    session.configure(rate=0.75)
    assert session.method.seed == 3 and session.projection.m == 4
    session.configure(method="random")
    assert session.method.seed == 0


def test_undo_and_clear(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    for question in QUESTIONS[:2]:
        list(session.ask(question, max_new_tokens=4))
    second = session.turns[1].answer_ids
    session.undo()
    list(session.ask(QUESTIONS[1], max_new_tokens=4))
    assert session.turns[1].answer_ids == second
    first = session.turns[0].answer_ids
    session.clear()
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    assert session.turns[0].answer_ids == first
    session.clear()
    with pytest.raises(SessionError):
        session.undo()
    with pytest.raises(SessionError):
        session.regenerate()


def test_an_abandoned_regeneration_keeps_the_old_answer(model, image):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(QUESTIONS[0], max_new_tokens=4))
    old = session.turns[0]
    session.regenerate(seed=3).close()
    assert session.turns == [old]


@pytest.mark.parametrize(
    "question", ["<image> what is <image>?", "is </s> it </S><s>red <PAD>?", "<<image>image>"]
)
def test_control_tokens_in_a_question_stay_text(model, image, question):
    session = ChatSession(model, image, method="sample", rate=0.5)
    list(session.ask(question, max_new_tokens=3))
    list(session.ask(question, max_new_tokens=3))
    special = set(model.tokenizer.all_special_ids) - {model.tokenizer.unk_token_id}
    first, second = session.turns
    assert [i for i in first.prompt_ids if i in special] == [1, model.image_token_id]
    assert not [i for i in second.prompt_ids if i in special]
    assert first.question == question


def test_sampling_is_reproducible_by_its_seed(model, image):
    answers = []
    for seed in (1, 1, 2, 3, 4):
        session = ChatSession(model, image, method="sample", rate=0.5)
        list(session.ask(QUESTIONS[0], max_new_tokens=8, temperature=5.0, top_p=0.95, seed=seed))
        answers.append(tuple(session.turns[0].answer_ids))
    assert answers[0] == answers[1] and len(set(answers)) > 1


def test_an_image_token_in_an_answer_is_no_second_image(model, image, monkeypatch) -> None:
    session = ChatSession(model, image, method="sample", rate=0.5)
    with monkeypatch.context() as patched:
        patched.setattr(Sampling, "choose", lambda self, logits: model.image_token_id)
        list(session.ask("is it?", max_new_tokens=2, temperature=1.0))
    list(session.ask("how many cats?", max_new_tokens=1))
    ids = torch.tensor(session._transcript(1, session.turns[1].prompt_ids))
    at = ids.tolist().index(model.image_token_id)
    assert ids.tolist().count(model.image_token_id) == 3
    read = model.embed_pieces([ids[:at], session.reduced, ids[at + 1 :]])
    expected = model.decoder.head(hidden_states(model.decoder, read.embeddings[None])[0, -1])
    assert torch.allclose(session.prefix_cache.request.logits, expected, atol=1e-4)
    assert session.prefix_cache.request.position == len(read)
