"""Replies of many chats side by side: the token ids that a `ChatSession` of each would write."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressor.chat.prefix_cache import closed_answer
from compressor.decoding import Pruning, Request, prefill, step
from compressor.errors import ContextLengthError
from compressor.models.base import VisionLanguageModel

Prune = Callable[[Sequence[int]], Pruning]  # from the ids of a first prompt


@torch.inference_mode()
def greedy_replies(
    model: VisionLanguageModel,
    images: Sequence[Tensor],
    questions: Sequence[Sequence[str]],
    max_new_tokens: int,
    prunes: Sequence[Prune | None] | None = None,
) -> list[list[list[int]]]:
    """Ids of the greedy answer to every turn of every chat, end tokens included where they came.

    Args:
        model: the model.
        images: what it reads of each image, (m, d).
        questions: the turns of each chat, as many for all.
        max_new_tokens: length at which an answer ends at the latest.
        prunes: what leaves each chat inside the decoder; None where nothing does.
    Raises:
        ContextLengthError: a chat does not fit into what the model can read.
    """
    requests = [Request() for _ in images]
    prunes = prunes or [None] * len(images)
    chats: list[list[list[int]]] = [[] for _ in images]
    for turn in range(len(questions[0])):
        embeds = []
        for request, chat, image, asked, prune in zip(
            requests, chats, images, questions, prunes, strict=True
        ):
            # the last token of an answer has no cache entry yet
            ids = closed_answer(model, chat[-1])[len(chat[-1]) - 1 :] if chat else []
            ids += model.prompt_ids(asked[turn], first=not turn)
            if prune is not None and not turn:
                request.pruning = prune(ids)
            embeds.append(model.embed_ids(ids, None if turn else image))
        for chat, reply in zip(chats, _reply(model, requests, embeds, max_new_tokens), strict=True):
            chat.append(reply)
    return chats


def _reply(
    model: VisionLanguageModel, requests: Sequence[Request], embeds: Sequence[Tensor], max_new_tokens: int
) -> list[list[int]]:
    """The ids of one answer of each chat, the end token included where it came.

    All chats go on until the last one has answered, because a step costs less than a cache of fewer rows;
    what a chat read beyond its end is forgotten.
    """
    read = [request.position + len(new) for request, new in zip(requests, embeds, strict=True)]
    if max(read) >= model.context_length:
        raise ContextLengthError(
            f"A chat has more than the {model.context_length} tokens that this model can read: "
            "ask fewer turns, or take a higher rate."
        )
    limits = [min(max_new_tokens, model.context_length - length) for length in read]
    replies = [[token] for token in prefill(model.decoder, requests, embeds)]
    steps = 0
    while open_ := [i for i, r in enumerate(replies) if r[-1] not in model.stop_ids and len(r) < limits[i]]:
        chosen = step(model.decoder, requests)
        steps += 1
        for i in open_:
            replies[i].append(chosen[i])
    for request, reply in zip(requests, replies, strict=True):
        request.rewind(steps - (len(reply) - 1))
    return replies
