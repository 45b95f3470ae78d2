"""The trainer asks what a chat would read, learns, and leaves the model as it was."""

import pytest
import torch

from compressor import ChatSession, load_model
from compressor.data import scenes
from compressor.evaluation.references import TopK
from compressor.methods.metacompress import MetaCompress
from compressor.training import trainer


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def samples(model):
    return trainer.prepare(model, [scenes.dialogue(i, turns=3) for i in range(12)])


def test_the_ids_are_those_of_a_chat(model) -> None:
    dialogue = scenes.dialogue(scenes.HELD_OUT + 7)
    before, after, follows = trainer.dialogue_ids(model, dialogue)
    ids = []
    for index, turn in enumerate(dialogue.turns):
        answer = model.tokenizer(turn.answer, add_special_tokens=False)["input_ids"]
        ids += [*model.prompt_ids(turn.question, first=not index), *answer, model.eos_id]
    assert [*before.tolist(), model.image_token_id, *after.tolist()] == ids
    responses = after[1:][follows[:-1]].tolist()
    assert model.decode(responses) == " ".join(turn.answer for turn in dialogue.turns)


def test_the_teacher_is_the_uncompressed_chat(model, samples) -> None:
    dialogue = scenes.dialogue(0, turns=3)
    session = ChatSession(model, dialogue.image, method="none", rate=0.0)
    "".join(session.ask(dialogue.turns[0].question, max_new_tokens=1))
    assert int(samples.teacher[0][0].argmax()) == session.turns[0].answer_ids[0]


def test_training_lowers_the_loss_and_keeps_the_model(model, samples) -> None:
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    generator = MetaCompress.create(model, d_c=16, pool="average")
    rows = torch.arange(len(samples))

    def loss() -> float:
        with torch.no_grad():
            return float(trainer.losses(model, generator, samples, rows, 0.95)["prediction"])

    start, lines = loss(), []
    trainer.fit(model, generator, samples, trainer.Settings(steps=40, batch=6, rates=(0.95,)), lines.append)
    assert loss() < 0.9 * start
    assert [line["step"] for line in lines] == [20, 40]
    assert all(torch.equal(value, before[name]) for name, value in model.hf.state_dict().items())


def test_top_k_gets_gradients_through_its_choice(model, samples) -> None:
    generator = TopK(model.width, samples.embeddings.shape[1])
    rows = torch.arange(4)
    trainer.losses(model, generator, samples, rows, 0.9)["prediction"].backward()
    assert all(torch.isfinite(p.grad).all() for p in generator.parameters())
    assert float(generator.score[0].weight.grad.abs().max()) > 0
    weights = generator(samples.embeddings[:2].float(), 26)
    assert weights.shape == (2, 26, 256)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 26))
