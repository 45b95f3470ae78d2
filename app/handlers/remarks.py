"""What to know of a question before its answer is judged: words and forms that the model does not know."""

from app import settings
from compressor import VisionLanguageModel, list_models
from compressor.world import questions


def remarks(model: VisionLanguageModel, question: str) -> str:
    """Sentences about what the model cannot have understood, of bounded length; empty where there is nothing.

    Args:
        model: that has answered.
        question: as it was typed.
    """
    words = model.unknown_words(question)
    sentences = [_unknown(words)] if words else []
    named_in_vain = questions.has_known_form(question) and words  # the words say it all
    if _asks_of_the_world(model) and questions.parse(question) is None and not named_in_vain:
        sentences.append(_forms())
    return " ".join(sentences)


def _asks_of_the_world(model: VisionLanguageModel) -> bool:
    return any(card.name == model.name and card.generated_world for card in list_models())


def _unknown(words: list[str]) -> str:
    listed = ", ".join(f"“{_short(word)}”" for word in words[: settings.UNKNOWN_WORDS])
    more = len(words) - settings.UNKNOWN_WORDS
    listed += f" and {more} more" if more > 0 else ""
    return f"This model does not know {listed}; it answered from the words it knows."


def _short(word: str) -> str:
    longest = settings.UNKNOWN_WORD_LETTERS
    return word if len(word) <= longest else f"{word[:longest]}…"


def _forms() -> str:
    listed = ", ".join(f"“{example}”" for example in questions.examples())
    return (
        "This is no form of question that this model knows, so its answer means nothing. "
        f"Press a suggestion of a scene, or ask as they do: {listed}."
    )
