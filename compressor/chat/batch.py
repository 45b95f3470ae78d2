"""Many chats side by side: the token ids that a `ChatSession` of each would write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compressor.chat.protocol import answer_limit, deciding_ids, is_complete, transcript_ids
from compressor.decoding import Pruning, Request, prefill, step
from compressor.models.base import PromptEmbeddings, VisionLanguageModel

Prune = Callable[[Sequence[int]], Pruning]  # from the ids of a first prompt


@dataclass(eq=False)
class _Chat:
    """One of the chats.

    Args:
        image: what the language model is given of it, (m, d).
        questions: of all turns.
        prune: what leaves inside the decoder; None where nothing does.
        turns: ids of the prompt and of the answer of each turn so far.
        request: whose cache holds what was read.
        cached: number of ids, from the first on, that were read.
    """

    image: Tensor
    questions: Sequence[str]
    prune: Prune | None
    turns: list[tuple[list[int], list[int]]] = field(default_factory=list)
    request: Request = field(default_factory=Request)
    cached: int = 0

    def unread(self, model: VisionLanguageModel, ids: Sequence[int]) -> PromptEmbeddings:
        """The embeddings of those ids of a transcript that have no cache entry yet.

        Args:
            model: the model.
            ids: of the transcript.
        """
        if self.cached:
            return model.embed_ids(ids[self.cached :], None)
        if self.prune is not None:
            self.request.pruning = self.prune(deciding_ids(ids, len(ids)))
        return model.embed_ids(ids, self.image)


@torch.inference_mode()
def greedy_answer_ids(
    model: VisionLanguageModel,
    images: Sequence[Tensor],
    questions: Sequence[Sequence[str]],
    max_new_tokens: int,
    prunes: Sequence[Prune | None] | None = None,
) -> list[list[list[int]]]:
    """The ids of the greedy answer to every turn of every chat, end tokens included where they came.

    Args:
        model: the model.
        images: what it is given of each image, (m, d).
        questions: the turns of each chat, as many for all.
        max_new_tokens: number of tokens at which an answer ends at the latest.
        prunes: what leaves each chat inside the decoder; None where nothing does.
    Raises:
        ContextLengthError: a chat does not fit into what the model can read.
    """
    prunes = prunes or [None] * len(images)
    chats = [_Chat(*parts) for parts in zip(images, questions, prunes, strict=True)]
    for turn in range(len(questions[0])):
        prompts = [model.prompt_ids(chat.questions[turn], first=not turn) for chat in chats]
        transcripts = [
            transcript_ids(model, chat.turns, prompt) for chat, prompt in zip(chats, prompts, strict=True)
        ]
        for chat, prompt, ids, answer in zip(
            chats, prompts, transcripts, _answers(model, chats, transcripts, max_new_tokens), strict=True
        ):
            chat.turns.append((prompt, answer))
            chat.cached = len(ids) + len(answer) - 1  # the last id of an answer has no cache entry yet
    return [[answer for _, answer in chat.turns] for chat in chats]


def _answers(
    model: VisionLanguageModel,
    chats: Sequence[_Chat],
    transcripts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """The ids of the answer to each transcript, the end token included where it came.

    All chats go on until the last answer is complete, because a step costs less than a cache of fewer rows;
    what a chat read beyond the end of its answer is removed from its cache.
    """
    pairs = list(zip(chats, transcripts, strict=True))
    limits = [answer_limit(model, ids, len(chat.image), max_new_tokens) for chat, ids in pairs]
    requests = [chat.request for chat in chats]
    embeds = [chat.unread(model, ids) for chat, ids in pairs]
    answers = [[token] for token in prefill(model.decoder, requests, embeds)]
    steps = 0
    while incomplete := [i for i, ids in enumerate(answers) if not is_complete(model, ids, limits[i])]:
        next_ids = step(model.decoder, requests)
        steps += 1
        for i in incomplete:
            answers[i].append(next_ids[i])
    for request, answer in zip(requests, answers, strict=True):
        request.rewind(steps - (len(answer) - 1))
    return answers
