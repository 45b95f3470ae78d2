"""A dialogue as token ids, and what a model predicts where its responses stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from compressor.chat.protocol import with_eos
from compressor.decoding import hidden_states
from compressor.models.base import VisionLanguageModel


@dataclass(frozen=True, eq=False)
class Transcript:
    """The ids of a dialogue around its image.

    Args:
        before: text ids in front of the image, (L0,).
        after: text ids behind it with the responses, (L,).
        response: whether the next token is a response token, (L,) booleans, T of them true.
    """

    before: Tensor
    after: Tensor
    response: Tensor

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def answer_ids(model: VisionLanguageModel, answer: str) -> list[int]:
    """Ids of an answer's text, without the end token."""
    return model.tokenizer(answer, add_special_tokens=False)["input_ids"]


def transcript(
    model: VisionLanguageModel, questions: Sequence[str], answers: Sequence[Sequence[int]]
) -> Transcript:
    """The ids that a chat with these turns consists of, each answer closed by its end token.

    Args:
        model: the model.
        questions: of the turns.
        answers: their ids, with or without end tokens.
    """
    ids: list[int] = []
    follows: list[bool] = []
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        prompt = model.prompt_ids(question, first=not index)
        response = with_eos(model, answer)
        ids += [*prompt, *response]
        follows += [False] * (len(prompt) - 1) + [True] * len(response) + [False]
    image = ids.index(model.image_token_id)
    parts = (ids[:image], ids[image + 1 :], follows[image + 1 :])
    return Transcript(*(torch.tensor(part, device=model.device) for part in parts))


def response_states(
    model: VisionLanguageModel,
    images: Sequence[Tensor],
    transcripts: Sequence[Transcript],
    checkpointed: bool = False,
) -> list[Tensor]:
    """Hidden states that predict the response tokens, teacher-forced; `decoder.head` turns them into logits.

    Args:
        model: the model.
        images: tokens of B images, each (m, d); m may differ.
        transcripts: of the B dialogues.
        checkpointed: keep only what enters each layer for the backward pass.
    Returns:
        per dialogue (T, d), after the final norm.
    """
    rows = [
        model.embed_pieces([text.before, image, text.after])
        for image, text in zip(images, transcripts, strict=True)
    ]
    # padding stands at the end, where causal attention never looks
    embeddings = pad_sequence([row.embeddings for row in rows], batch_first=True)
    mask = pad_sequence([row.image_mask for row in rows], batch_first=True)
    hidden = hidden_states(model.decoder, embeddings, checkpointed, mask)
    found = []
    for states, row, text in zip(hidden, rows, transcripts, strict=True):
        found.append(states[len(row) - len(text.after) : len(row)][text.response])
    return found
