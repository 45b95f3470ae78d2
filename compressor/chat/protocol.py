"""The protocol of turns: a chat as token ids, where an answer ends, and what decides P in the decoder.

A `ChatSession` and the chats of a batch follow the same functions, so that both compute the same answers.
"""

from collections.abc import Iterable, Sequence

from compressor.errors import ContextLengthError
from compressor.models.base import VisionLanguageModel

Ids = tuple[int, ...]


def with_eos(model: VisionLanguageModel, ids: Sequence[int]) -> list[int]:
    """The ids of an answer as a transcript holds them: with `eos_id` at the end, however the answer ended.

    Args:
        model: the model.
        ids: with or without one of its `stop_ids` at the end.
    """
    has_end = bool(ids) and ids[-1] in model.stop_ids
    return [*(ids[:-1] if has_end else ids), model.eos_id]


def transcript_ids(
    model: VisionLanguageModel, turns: Iterable[tuple[Sequence[int], Sequence[int]]], prompt: Sequence[int]
) -> list[int]:
    """The ids of a chat up to the end of a new prompt; the image is one id among them.

    Args:
        model: the model.
        turns: ids of the prompt and of the answer of each earlier turn.
        prompt: ids of the new prompt.
    """
    ids: list[int] = []
    for earlier_prompt, answer in turns:
        ids += [*earlier_prompt, *with_eos(model, answer)]
    return [*ids, *prompt]


def answer_limit(
    model: VisionLanguageModel, ids: Sequence[int], image_tokens: int, max_new_tokens: int
) -> int:
    """The number of tokens at which the answer to a transcript ends at the latest.

    Args:
        model: the model.
        ids: of the transcript, one of them for the image.
        image_tokens: tokens that the language model is given of the image.
        max_new_tokens: largest number of tokens that is asked for.
    Raises:
        ContextLengthError: the transcript leaves no room for an answer.
    """
    room = model.context_length - (len(ids) - 1 + image_tokens)
    if room <= 0:
        raise ContextLengthError(
            f"The chat does not fit into the {model.context_length} tokens that this model can read: "
            "shorten the question, keep fewer turns, or raise the compression rate."
        )
    return min(max_new_tokens, room)


def is_complete(model: VisionLanguageModel, answer_ids: Sequence[int], limit: int) -> bool:
    """Whether an answer has ended by itself or reached its limit.

    Args:
        model: the model.
        answer_ids: at least one.
        limit: as `answer_limit` gives it.
    """
    return answer_ids[-1] in model.stop_ids or len(answer_ids) >= limit


def deciding_ids(ids: Sequence[int], first_prompt: int, reselect: bool = False) -> Ids:
    """Those ids of a transcript whose last one decides which image tokens a decoder method keeps.

    Args:
        ids: of a transcript, up to the end of its newest prompt.
        first_prompt: number of ids of its first prompt.
        reselect: whether every turn decides anew (see `DecoderMethod`).
    """
    return tuple(ids if reselect else ids[:first_prompt])
