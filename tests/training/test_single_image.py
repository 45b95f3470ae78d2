"""Algorithm 2: its arithmetic against the formulas, its outcome in a chat, and that it leaves no trace."""

import threading

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from compressor import ChatSession, load_model
from compressor.errors import (
    ContextLengthError,
    DivergedError,
    InvalidOptionError,
    InvalidQuestionError,
    InvalidRateError,
)
from compressor.training import single_image
from compressor.training.single_image import Settings, optimize
from compressor.world import scenes

QUESTIONS = ("How many cats are there?", "What color is the dog?", "Is it red?")
SHORT = Settings(steps=4, every=1, max_new_tokens=3)


@pytest.fixture
def tokens(model, image):
    return model.encode(image)


def answers_of(session, questions):
    for question in questions:
        list(session.ask(question))
    return [turn.answer for turn in session.turns]


def formula(model, tokens, raw, prompt, answer, alpha):
    """L_pred + alpha L_entropy of P_raw in float64 by stock forwards, for one turn with the answer's ids."""
    ids = torch.tensor([*prompt, *answer])
    at = prompt.index(model.image_token_id)
    table = model.hf.get_input_embeddings()

    def log_p(image):
        embeds = torch.cat([table(ids[:at]), image, table(ids[at + 1 :])])
        states = model.hf.model.language_model(inputs_embeds=embeds[None]).last_hidden_state[0]
        return model.hf.lm_head(states[-len(answer) - 1 :]).log_softmax(-1)  # (T, V)

    p = torch.exp(raw) / torch.exp(raw).sum(1, keepdim=True)
    teacher, student = log_p(tokens.embeddings), log_p(p @ tokens.embeddings)
    prediction = sum(float((t.exp() * (t - s)).sum()) for t, s in zip(teacher, student, strict=True))
    return prediction / (len(answer) + 1) - alpha * float((p * p.log()).sum()) / len(p)


def norm(self, x):
    """The model's norm without its detour over float32, which differences of 1e-5 do not survive."""
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


@torch.no_grad()
def test_a_step_is_the_formula(checkpoint, image, monkeypatch):
    """The gradient against central differences in float64, the update against P_raw - 10 gradient."""
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    model = load_model(checkpoint, device="cpu", dtype=torch.float64)
    tokens, settings = model.encode(image), Settings(steps=1, alpha=0.7, sigma=1.0, seed=5)
    prompt, answer = model.prompt_ids(QUESTIONS[0], first=True), model.tokenizer("2 .")["input_ids"][1:]
    raw = single_image.initial(2, 16, settings).double()
    gradient, shift = torch.zeros(2, 16, dtype=torch.float64), 1e-5
    for entry in range(32):
        delta = torch.zeros(32, dtype=torch.float64).index_fill_(0, torch.tensor(entry), shift).view(2, 16)
        up, down = (formula(model, tokens, raw + d, prompt, answer, 0.7) for d in (delta, -delta))
        gradient.view(-1)[entry] = (up - down) / (2 * shift)

    start, end = optimize(model, tokens, QUESTIONS[:1], 0.875, settings, answers=["2 ."])
    assert start.total == pytest.approx(formula(model, tokens, raw, prompt, answer, 0.7), abs=1e-5)
    expected = (raw - 10 * gradient).softmax(-1).float()
    assert (expected - start.projection.weights).abs().max() > 0.01
    torch.testing.assert_close(end.projection.weights, expected, atol=1e-5, rtol=1e-4)

    leaf = raw.float().requires_grad_()
    aim = single_image.target(model, tokens.embeddings, QUESTIONS[:1], ["2 ."], 1)
    with torch.enable_grad():
        _, prediction, entropy = single_image.losses(model, tokens, aim, leaf)
        (found,) = torch.autograd.grad(prediction + 0.7 * entropy, leaf)
    torch.testing.assert_close(found.double(), gradient, atol=1e-6, rtol=1e-4)


def test_p_starts_as_the_softmax_of_small_numbers(model, tokens):
    (start,) = optimize(model, tokens, QUESTIONS[:1], 0.5, Settings(steps=0, seed=3))
    logs = start.projection.weights.log()
    spread = (logs - logs.mean(1, keepdim=True)).std()
    assert start.projection.weights.shape == (8, 16) and 0.08 < spread < 0.12
    assert start.entropy == pytest.approx(float(start.projection.entropy().mean()), abs=1e-5)


def test_the_answer_becomes_that_of_the_uncompressed_model(tiny):
    dialogue = scenes.dialogue(scenes.HELD_OUT + 2, turns=1)
    questions = [turn.question for turn in dialogue.turns]
    reference = answers_of(ChatSession(tiny, dialogue.image, method="none"), questions)
    run = optimize(tiny, tiny.encode(dialogue.image), questions, 0.9, Settings(steps=100, every=100))
    start, end = run
    assert end.prediction < 0.01 * start.prediction and end.entropy < start.entropy - 0.1
    assert end.projection.weights.shape == (26, 256)
    before, after = (
        answers_of(ChatSession(tiny, dialogue.image, method="fixed", weights=each.projection), questions)
        for each in (start, end)
    )
    assert after == reference != before


def test_one_p_can_serve_three_turns(tiny):
    dialogue = scenes.dialogue(scenes.HELD_OUT, turns=3)
    questions = [turn.question for turn in dialogue.turns]
    reference = answers_of(ChatSession(tiny, dialogue.image, method="none"), questions)
    *_, end = optimize(
        tiny, tiny.encode(dialogue.image), questions, 0.9, Settings(steps=100, learning_rate=100.0)
    )
    session = ChatSession(tiny, dialogue.image, method="fixed", weights=end.projection)
    assert answers_of(session, questions) == reference


def test_the_responses_are_what_an_uncompressed_chat_says(model, image, tokens):
    session = ChatSession(model, image, method="none")
    for question in QUESTIONS:
        list(session.ask(question, max_new_tokens=5))
    said = [[i for i in turn.answer_ids if i != model.eos_id] for turn in session.turns]
    aim = single_image.target(model, tokens.embeddings, QUESTIONS, None, 5)
    assert len(aim.teacher) == sum(map(len, said)) + 3
    assert aim.teacher.argmax(-1)[:5].tolist() == session.turns[0].answer_ids


def test_records_come_when_they_were_asked_for(model, tokens):
    settings = Settings(steps=7, every=3, alpha=0.5)
    records = list(optimize(model, tokens, QUESTIONS[:1], 0.5, settings))
    assert [record.step for record in records] == [0, 3, 6, 7]
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)
    for record in records:
        assert record.total == pytest.approx(record.prediction + 0.5 * record.entropy, rel=1e-5)
        assert record.projection.stage == "embedding" and not record.projection.weights.requires_grad
        torch.testing.assert_close(record.projection.weights.sum(1), torch.ones(8))
    assert not torch.equal(records[0].projection.weights, records[1].projection.weights)


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_the_model_stays_as_it_was_however_it_ends(checkpoint, image, taken):
    model = load_model(checkpoint, device="cpu")
    first = next(model.hf.parameters()).requires_grad_()
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    run = optimize(model, model.encode(image), QUESTIONS[:1], 0.5, SHORT)
    records = [next(run) for _ in range(taken)]
    run.close()
    assert len(records) == taken and next(run, None) is None
    assert all(torch.equal(value, before[name]) for name, value in model.hf.state_dict().items())
    assert all(each.grad is None and each.requires_grad == (each is first) for each in model.hf.parameters())


def test_the_seed_decides(model, tokens):
    def last(seed):
        *_, record = optimize(model, tokens, QUESTIONS[:1], 0.5, Settings(steps=2, seed=seed))
        return record.projection.weights

    assert torch.equal(last(1), last(1))
    assert not torch.equal(last(1), last(2))


@pytest.mark.parametrize("rate", [0, 0.01])
def test_without_reduction_it_is_the_identity_at_once(model, tokens, rate):
    (record,) = optimize(model, tokens, QUESTIONS, rate)
    assert record.projection.is_identity
    assert (record.step, record.prediction, record.entropy, record.total) == (0, 0, 0, 0)


def test_whoever_iterates_may_be_in_inference_mode(model, image, tokens):
    expected = [record.total for record in optimize(model, tokens, QUESTIONS, 0.5, SHORT)]
    with torch.inference_mode():
        inferred = type(tokens)(tokens.features * 1, tokens.embeddings * 1, tokens.layout)
        assert inferred.embeddings.is_inference()
        totals = []
        for record in optimize(model, inferred, QUESTIONS, 0.5, SHORT):
            assert torch.is_inference_mode_enabled()
            totals.append(record.total)
    with torch.no_grad():
        run = optimize(model, tokens, QUESTIONS, 0.5, SHORT)
        next(run)
        run.close()
        assert not torch.is_grad_enabled()
    assert totals == expected


def test_each_record_may_be_fetched_from_another_thread(model, tokens):
    expected = [record.total for record in optimize(model, tokens, QUESTIONS, 0.5, SHORT)]
    run, totals = optimize(model, tokens, QUESTIONS, 0.5, SHORT), []
    with torch.inference_mode():
        for _ in expected:
            thread = threading.Thread(target=lambda: totals.append(next(run).total))
            thread.start()
            thread.join()
    assert totals == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_models_of_any_precision(tiny, dtype):
    dialogue = scenes.dialogue(scenes.HELD_OUT, turns=1)
    model, settings = load_model("tiny", device="cpu", dtype=dtype), Settings(steps=2, every=1)
    questions = [turn.question for turn in dialogue.turns]
    exact, rough = (
        list(optimize(each, each.encode(dialogue.image), questions, 0.95, settings)) for each in (tiny, model)
    )
    for one, other in zip(exact, rough, strict=True):
        assert other.prediction == pytest.approx(one.prediction, rel=0.02)
        torch.testing.assert_close(other.projection.weights, one.projection.weights, rtol=0.02, atol=0)


def test_the_image_is_not_encoded_again(model, tokens, monkeypatch):
    monkeypatch.setattr(type(model), "encode_batch", lambda *_: pytest.fail("the image was encoded"))
    assert len(list(optimize(model, tokens, QUESTIONS, 0.5, SHORT))) == 5


def test_what_cannot_be_optimised_is_refused_at_once(model, tokens):
    for rate in (1.0, -0.1, float("nan"), "0.9"):
        with pytest.raises(InvalidRateError):
            optimize(model, tokens, QUESTIONS, rate)
    for questions in ([], [" "], [*QUESTIONS, ""]):
        with pytest.raises(InvalidQuestionError):
            optimize(model, tokens, questions, 0.5)
    with pytest.raises(InvalidOptionError, match="one answer per question"):
        optimize(model, tokens, QUESTIONS, 0.5, answers=["2"])
    with pytest.raises(ContextLengthError):
        optimize(model, tokens, ["cats " * 300], 0.5)


def test_a_dialogue_that_grows_too_long_is_refused(model, tokens):
    with pytest.raises(ContextLengthError):
        next(optimize(model, tokens, QUESTIONS[:1], 0.5, answers=["cats " * 300]))
    with pytest.raises(ContextLengthError):
        next(optimize(model, tokens, ["cats " * 100] * 2, 0.5, Settings(max_new_tokens=64)))


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": -1},
        {"every": 0},
        {"max_new_tokens": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": -1.0},
        {"alpha": float("inf")},
        {"sigma": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InvalidOptionError, match=next(iter(bad))):
        Settings(**bad)


def test_numbers_that_are_not_finite_end_it(model, tokens):
    run = optimize(model, tokens, QUESTIONS[:1], 0.5, Settings(steps=5, every=1, learning_rate=1e300))
    assert next(run).step == 0
    with pytest.raises(DivergedError, match="step 1: lower the learning rate"):
        next(run)
