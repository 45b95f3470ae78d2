"""The ids are a chat's, and the logits at the response tokens those of the stock model."""

import torch

from compressor import ChatSession
from compressor.training.teacher_forcing import answer_ids, response_states, transcript
from compressor.world import scenes


def of_dialogue(model, dialogue):
    answers = [answer_ids(model, turn.answer) for turn in dialogue.turns]
    return transcript(model, [turn.question for turn in dialogue.turns], answers)


def test_the_ids_are_those_of_a_chat(tiny) -> None:
    dialogue = scenes.dialogue(scenes.HELD_OUT + 7)
    text = of_dialogue(tiny, dialogue)
    session = ChatSession(tiny, dialogue.image, method="none", rate=0.0)
    ids = []
    for index, turn in enumerate(dialogue.turns):
        ids += [*tiny.prompt_ids(turn.question, first=not index), *answer_ids(tiny, turn.answer), tiny.eos_id]
    assert [*text.before.tolist(), tiny.image_token_id, *text.after.tolist()] == ids
    assert session.model.image_token_id in ids
    responses = text.after[1:][text.response[:-1]].tolist()
    assert tiny.decode(responses) == " ".join(turn.answer for turn in dialogue.turns)


def test_the_logits_are_those_of_the_stock_model(tiny, dialogues) -> None:
    pair = dialogues[:2]
    texts = [of_dialogue(tiny, dialogue) for dialogue in pair]
    images = [tiny.encode(dialogue.image).embeddings for dialogue in pair]
    found = response_states(tiny, [images[0], images[1][:100]], texts)
    for states, image, text in zip(found, [images[0], images[1][:100]], texts, strict=True):
        embed = tiny.hf.get_input_embeddings()
        embeds = torch.cat([embed(text.before), image, embed(text.after)])[None]
        with torch.no_grad():
            stock = tiny.hf.lm_head(tiny.hf.model.language_model(inputs_embeds=embeds).last_hidden_state)[0]
        expected = stock[-len(text.after) :][text.response]
        assert torch.allclose(tiny.decoder.head(states), expected, atol=1e-4)


def test_checkpointing_changes_no_gradient(tiny, dialogues) -> None:
    text = of_dialogue(tiny, dialogues[0])
    image = tiny.encode(dialogues[0].image).embeddings[::8]
    gradients = []
    for checkpointed in (False, True):
        leaf = image.clone().requires_grad_()
        response_states(tiny, [leaf], [text], checkpointed)[0].square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)
