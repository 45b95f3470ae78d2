"""Tokenizers as other versions of transformers saved them, and those that cannot work: refused on loading."""

import json
import shutil

import pytest
from tokenizers import Tokenizer

from compressor import ChatSession, load_model
from compressor.assets import ASSETS
from compressor.errors import ModelMismatchError

QUESTIONS = ["what is left of the cat ?", "is <image> or </s> or <PAD> red ?", "<image>", "<image", "colour"]


@pytest.fixture
def copied(tmp_path):
    """A copy of the bundled checkpoint whose tokenizer does not name <image> among its special tokens."""
    directory = shutil.copytree(ASSETS / "models" / "tiny", tmp_path / "copied")
    change(directory, "tokenizer_config.json", lambda config: config.pop("extra_special_tokens"))
    return directory


def change(directory, name, edit):
    """Edit a JSON file of a checkpoint."""
    content = json.loads((directory / name).read_text())
    edit(content)
    (directory / name).write_text(json.dumps(content))


def only_added(directory):
    """Nothing: <image> is an added special token of tokenizer.json alone."""


def in_a_decoder(directory):
    tokens = json.loads((directory / "tokenizer.json").read_text())["added_tokens"]
    decoder = {str(token.pop("id")): token for token in tokens}
    change(
        directory, "tokenizer_config.json", lambda config: config.update({"added_tokens_decoder": decoder})
    )


def in_a_map(directory):
    marked = {"additional_special_tokens": ["<image>"], "eos_token": {"content": "</s>", "special": True}}
    (directory / "special_tokens_map.json").write_text(json.dumps(marked))


def not_marked(directory):
    """<image> is added, but not marked as special."""

    def edit(content):
        for token in content["added_tokens"]:
            token["special"] = token["content"] != "<image>"

    change(directory, "tokenizer.json", edit)


@pytest.mark.parametrize("saved", [only_added, in_a_decoder, in_a_map, not_marked])
def test_prompts_are_those_of_the_unchanged_checkpoint(copied, tiny, saved, image):
    saved(copied)
    model = load_model(copied, "cpu")
    for question in QUESTIONS:
        for first in (True, False):
            ids = model.prompt_ids(question, first=first)
            assert ids == tiny.prompt_ids(question, first=first)
            assert ids.count(model.image_token_id) == first
        assert model.unknown_words(question) == tiny.unknown_words(question)
    ids = [model.image_token_id, *model.tokenizer("the cat", add_special_tokens=False)["input_ids"]]
    assert model.decode(ids) == tiny.decode(ids) == "the cat"
    session = ChatSession(model, image)
    for question in ("what is it ?", "is <image> red ?"):
        list(session.ask(question, max_new_tokens=2))


def test_what_the_tokenizer_marks_is_never_read_out_of_a_question(copied):
    """Also a token that no attribute of the tokenizer names."""
    word = Tokenizer.from_file(str(copied / "tokenizer.json")).id_to_token(20)

    def mark(content):
        content["added_tokens"].append({**content["added_tokens"][0], "id": 20, "content": word})

    change(copied, "tokenizer.json", mark)
    model = load_model(copied, "cpu")
    assert 20 not in model.prompt_ids(f"is it {word} ?", first=True)
    assert model.decode([20]) == ""


def without_the_token(directory):
    def edit(content):
        content["added_tokens"] = [
            token for token in content["added_tokens"] if token["content"] != "<image>"
        ]

    change(directory, "tokenizer.json", edit)


def with_another_image(directory):
    change(directory, "config.json", lambda config: config.update(image_token_id=100_000))


def with_the_original_codes_image(directory):
    change(directory, "config.json", lambda config: config.update(image_token_id=-200))


def without_an_end(directory):
    change(directory, "tokenizer_config.json", lambda config: config.update(eos_token=None))


def with_more_words(directory):
    def edit(content):
        content["model"]["vocab"]["unheard"] = 100_000

    change(directory, "tokenizer.json", edit)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (without_the_token, "does not read the image's token"),
        (with_another_image, "has no token 100000"),
        (with_the_original_codes_image, "has no token -200"),
        (without_an_end, "has no token that ends an answer"),
        (with_more_words, "more tokens than the model has embeddings"),
    ],
)
def test_a_tokenizer_that_cannot_work_is_refused_on_loading(copied, broken, said):
    broken(copied)
    with pytest.raises(ModelMismatchError, match=f"The tokenizer of 'copied' .*{said}.*of the same model"):
        load_model(copied, "cpu")
