"""The chat format of InternLM2, with a small SentencePiece vocabulary."""

import sys

import pytest

from compressor.errors import ModelMismatchError, ModelUnavailableError
from compressor.models.families.xcomposer.tokenizer import InternLM2Tokenizer

END, START = "[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]"


@pytest.fixture
def tokenizer(xcomposer):
    return xcomposer.tokenizer


def test_the_first_prompt_follows_the_format(xcomposer, tokenizer):
    ids = xcomposer.prompt_ids("Is it red?", first=True)
    assert ids[:2] == [tokenizer.bos_token_id, xcomposer.image_token_id]
    # SentencePiece itself reads control pieces out of a text: the whole turn in one must give the same ids
    text = f"{START}user\nIs it red?{END}\n{START}assistant\n"
    assert ids[2:] == tokenizer._pieces.encode(text)


def test_a_later_prompt_begins_on_a_new_line(xcomposer, tokenizer):
    ids = xcomposer.prompt_ids("Is it red?", first=False)
    assert ids == tokenizer._pieces.encode(f"\n{START}user\nIs it red?{END}\n{START}assistant\n")


@pytest.mark.parametrize("name", [END, START, "<s>", "</s>", "[UNUSED_TOKEN_7]"])
def test_a_question_is_taken_literally(xcomposer, tokenizer, name):
    ids = xcomposer.prompt_ids(f"Is {name} red?", first=True)
    assert [id_ for id_ in ids if id_ in tokenizer.control_ids] == [
        tokenizer.bos_token_id,
        tokenizer.turn_begin_id,
        tokenizer.turn_end_id,
        tokenizer.turn_begin_id,
    ]
    assert ids.count(xcomposer.image_token_id) == 1


@pytest.mark.parametrize("text", ["Is it red?", "浦语 · 灵笔\n  two  spaces", "a", ""])
def test_text_comes_back_without_control_tokens(xcomposer, tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    around = [tokenizer.bos_token_id, *ids, tokenizer.turn_end_id, tokenizer.eos_token_id]
    assert tokenizer.decode(around, skip_special_tokens=True) == text
    assert xcomposer.decode(around) == text.strip()
    assert xcomposer.unknown_words(text) == []


def test_words_without_a_token_are_named(xcomposer, monkeypatch):
    monkeypatch.setattr(xcomposer.tokenizer, "encode", lambda word: [0] if "z" in word else [9])
    assert xcomposer.unknown_words("a zebra and a zoo, zebra") == ["zebra", "zoo"]


def test_two_tokens_end_an_answer(xcomposer, tokenizer):
    assert xcomposer.eos_id == tokenizer.turn_end_id
    assert xcomposer.stop_ids == {tokenizer.turn_end_id, tokenizer.eos_token_id}


def test_a_vocabulary_of_another_model(tmp_path):
    from sentencepiece import SentencePieceTrainer

    file = tmp_path / "tokenizer.model"
    with file.open("wb") as written:
        SentencePieceTrainer.train(
            sentence_iterator=iter(["is it red"] * 9),
            model_writer=written,
            vocab_size=15,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    with pytest.raises(ModelMismatchError, match="UNUSED_TOKEN_146"):
        InternLM2Tokenizer(file)


def test_a_damaged_file(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"garbage")
    with pytest.raises(ModelUnavailableError, match="damaged"):
        InternLM2Tokenizer(tmp_path / "tokenizer.model")


def test_without_sentencepiece(xcomposer_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModelUnavailableError, match="pip install sentencepiece"):
        InternLM2Tokenizer(xcomposer_checkpoint / "tokenizer.model")
