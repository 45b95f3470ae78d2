"""Answers side by side are the answers of a chat, and an image is encoded once for all settings."""

from dataclasses import replace

import pytest
import torch

from compressor import ChatSession, get_method
from compressor.errors import ContextLengthError, InvalidOptionError
from compressor.evaluation.answering import Setting, answer_dialogues
from compressor.methods.metacompress import MetaCompress
from compressor.world import scenes


def in_a_session(model, dialogue, method, rate, max_new_tokens=16):
    session = ChatSession(model, dialogue.image, method=method, rate=rate)
    return ["".join(session.ask(t.question, max_new_tokens=max_new_tokens)) for t in dialogue.turns]


@pytest.mark.parametrize("method", ["none", "metacompress", "visionzip", "fastv"])
def test_a_batch_answers_as_a_session_does(tiny, dialogues, method: str) -> None:
    setting = Setting.of(get_method(method, model=tiny), 0.9)
    found = {
        each.dialogue: each for part in answer_dialogues(tiny, dialogues, [setting], batch=4) for each in part
    }
    assert found.keys() == {dialogue.id for dialogue in dialogues}
    for dialogue in dialogues:
        assert found[dialogue.id].texts == in_a_session(tiny, dialogue, method, 0.9)
        assert found[dialogue.id].image_tokens == (256 if method == "none" else 26)


def test_an_image_is_encoded_once_for_all_settings_and_never_for_what_is_known(
    tiny, dialogues, monkeypatch
) -> None:
    encoded = []
    encode = tiny.encode_batch

    def counted(images, want):
        encoded.append((len(images), want))
        return encode(images, want)

    monkeypatch.setattr(tiny, "encode_batch", counted)
    settings = [
        Setting.of(get_method(name, model=tiny), rate)
        for name in ("sample", "visionzip")
        for rate in (0.9, 0.95)
    ]
    first = [each for part in answer_dialogues(tiny, dialogues, settings, batch=4) for each in part]
    assert encoded == [(4, frozenset({"cls_attention", "keys"})), (2, frozenset({"cls_attention", "keys"}))]
    assert len({each.key for each in first}) == len(first) == 24
    known = {each.key for each in first} - {(settings[1].key, dialogues[2].id)}
    (again,) = answer_dialogues(tiny, dialogues, settings, known=known, batch=4)
    assert encoded[2:] == [(1, frozenset({"cls_attention", "keys"}))]
    assert again == [each for each in first if each.key not in known]
    assert list(answer_dialogues(tiny, dialogues, settings, known={each.key for each in first})) == []


def test_a_key_tells_rates_and_weights_apart(tiny) -> None:
    one, two = (MetaCompress.create(tiny, d_c=8, seed=seed) for seed in (0, 1))
    keys = {Setting.of(method, rate).key for method in (one, two) for rate in (0.9, 0.95)}
    assert len(keys) == 4
    others = [{"pool": "average"}, {"positions": "none", "sigma_w": one.sigma_w}]  # with the same parameters
    keys |= {Setting.of(MetaCompress.create(tiny, d_c=8, seed=0, **other), 0.9).key for other in others}
    assert len(keys) == 6
    assert Setting.of(MetaCompress.create(tiny, d_c=8, seed=0), 0.9).key == Setting.of(one, 0.9).key
    with torch.no_grad():
        one.scale[0] += 1
    assert Setting.of(one, 0.9).key not in keys


def test_what_does_not_fit_is_said_in_a_sentence(tiny, dialogues, monkeypatch) -> None:
    fastv = Setting.of(get_method("fastv", model=tiny, reselect=True), 0.9)
    with pytest.raises(InvalidOptionError, match="reselect"):
        list(answer_dialogues(tiny, dialogues, [fastv]))
    monkeypatch.setattr(tiny, "context_length", 280)
    setting = Setting.of(get_method("none"), 0.0)
    with pytest.raises(ContextLengthError, match="280 tokens"):
        list(answer_dialogues(tiny, dialogues, [setting]))


def test_an_answer_ends_where_the_context_does_as_in_a_session(model, image, monkeypatch) -> None:
    dialogue = scenes.dialogue(0, turns=1)
    question = replace(dialogue.turns[0], question="how many cats are there?")
    dialogue = replace(dialogue, load=lambda: image, turns=(question,))
    monkeypatch.setattr(model, "context_length", 16 + 10 + 4)
    (found,) = next(answer_dialogues(model, [dialogue], [Setting.of(get_method("none"), 0.0)]))
    assert [*found.texts] == in_a_session(model, dialogue, "none", 0.0)
    assert 1 <= len(found.texts[0].split()) <= 6
