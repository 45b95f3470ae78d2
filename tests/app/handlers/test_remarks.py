"""What the page says of questions that a model cannot have understood, and what it can be asked."""

import pytest

from app.handlers import chat
from app.handlers.remarks import remarks
from compressor import list_models
from compressor.world import questions


@pytest.fixture
def bundled(model, monkeypatch):
    """The random model under the name of the one that knows the generated world."""
    (name,) = (card.name for card in list_models() if card.generated_world)
    monkeypatch.setattr(model, "name", name)
    monkeypatch.setattr(type(model), "unknown_words", lambda self, text: unknown)
    unknown: list[str] = []
    return model, unknown


@pytest.mark.parametrize(
    "question", ["describe the picture", "is there a dog in the picture?", "what is in the middle?", "cat?"]
)
def test_an_unknown_form_is_told_with_what_can_be_asked_and_where(bundled, question):
    model, _ = bundled
    text = remarks(model, question)
    assert "no form of question" in text and "suggestion" in text
    assert all(example in text for example in questions.examples())


@pytest.mark.parametrize("question", [*questions.examples(), "What colour is the dog", "IS THERE AN OWL?!"])
def test_a_known_form_needs_no_word(bundled, question):
    assert remarks(bundled[0], question) == ""


def test_an_unknown_thing_in_a_known_form_is_only_named(bundled):
    model, unknown = bundled
    unknown.append("zeppelins")
    text = remarks(model, "how many zeppelins are there?")
    assert text == "This model does not know “zeppelins”; it answered from the words it knows."
    assert "no form of question" in remarks(model, "describe the zeppelins")


def test_models_of_the_real_world_are_asked_anything(model):
    assert model.name not in {card.name for card in list_models() if card.generated_world}
    assert remarks(model, "how many cats") == ""


@pytest.mark.parametrize(
    "question", ["x" * 3000, " ".join(f"word{i}" for i in range(500)), "؟" * 900 + "ق" * 3000]
)
def test_the_note_is_bounded(model, question):
    assert 0 < len(remarks(model, question)) < 300


def test_all_words_are_listed_up_to_five(model):
    assert "know “one”, “two”, “three”, “four”, “five”; it" in remarks(model, "one two three four five")
    assert "“four”, “five” and 2 more; it" in remarks(model, "one two three four five six seven")


@pytest.mark.parametrize("question", ["is it red; (really)!?", "… ¡«» — / *"])
def test_punctuation_is_no_word(model, question):
    text = remarks(model, question)
    assert text in ("", "This model does not know “really”; it answered from the words it knows.")


def test_the_answer_comes_with_the_remarks(user, bundled):
    model, _ = bundled
    user.chat.model.name = model.name  # a variant of the same model
    views = list(chat.ask(user, "describe the picture", max_new_tokens=2))
    assert "no form of question" in views[-1].notice and 'role="status"' in views[-1].notice


def test_texts_run_as_their_first_letter_does(user):
    view = list(chat.ask(user, "ما لون cat؟", max_new_tokens=2))[-1]
    assert all('<div class="say" dir="auto">' in message["content"] for message in view.messages)
