"""Trains a generator of P on a frozen model: image tokens and teacher logits are computed once and kept."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from compressor.data.dialogues import Dialogue
from compressor.decoding import hidden_states
from compressor.models.base import VisionLanguageModel
from compressor.projection import token_budget
from compressor.training.objective import collapse_loss, entropy_loss, prediction_loss


@dataclass(frozen=True)
class Settings:
    """How to train.

    Args:
        steps: optimiser steps; batch: dialogues per step.
        rates: reduction rates, one drawn per step, so that one set of weights serves them all.
        peak: AdamW's learning rate after ``warmup`` steps, then a cosine down to zero.
        entropy, collapse: lambda_e and lambda_c of equation 10.
        clip: maximum of the gradient, of its norm or of each value (the paper does not say which).
        seed: of batches and rates.
    """

    steps: int = 600
    batch: int = 16
    rates: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 0.9, 0.95, 0.95)
    peak: float = 1e-3
    warmup: int = 20
    entropy: float = 0.03
    collapse: float = 0.1
    clip: float = 1e-2
    clip_by: Literal["norm", "value"] = "norm"
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """Dialogues made ready for a frozen model, one row each.

    Args:
        embeddings: image tokens (N, n, d) in float16.
        before: text ids in front of the image (L0,).
        after: text ids behind it with the responses, padded at the right (N, L).
        response: whether the next token is a response token, (N, L) booleans.
        teacher: the uncompressed model's logits at those places, (T_i, V) float16 per row.
    """

    embeddings: Tensor
    before: Tensor
    after: Tensor
    response: Tensor
    teacher: list[Tensor]

    def __len__(self) -> int:
        return len(self.embeddings)


def response_logits(
    model: VisionLanguageModel, image: Tensor, before: Tensor, after: Tensor, response: Tensor
) -> list[Tensor]:
    """Teacher-forced logits (T_i, V) at the response tokens.

    Args:
        model: the model.
        image: tokens of B images, (B, m, d).
        before, after, response: as in ``Samples``, (L0,), (B, L) and (B, L).
    """
    decoder = model.decoder
    first, rest = decoder.embed(before).expand(len(after), -1, -1), decoder.embed(after)
    hidden = hidden_states(decoder, torch.cat([first, image.to(rest.dtype), rest], 1))[:, -rest.shape[1] :]
    return [decoder.head(states[mask]).float() for states, mask in zip(hidden, response, strict=True)]


def answer_ids(model: VisionLanguageModel, answer: str) -> list[int]:
    """Ids of an answer's text, without the end token."""
    return model.tokenizer(answer, add_special_tokens=False)["input_ids"]


def transcript(
    model: VisionLanguageModel, questions: Sequence[str], answers: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids before the image, ids behind it, and which of the latter a response token follows.

    Args:
        model: the model.
        questions: of the turns.
        answers: their ids, without end tokens.
    """
    ids: list[int] = []
    follows: list[bool] = []
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        prompt = model.prompt_ids(question, first=not index)
        ids += [*prompt, *answer, model.eos_id]
        follows += [False] * (len(prompt) - 1) + [True] * (len(answer) + 1) + [False]
    image = ids.index(model.image_token_id)
    parts = (ids[:image], ids[image + 1 :], follows[image + 1 :])
    before, after, response = (torch.tensor(part, device=model.device) for part in parts)
    return before, after, response


def dialogue_ids(model: VisionLanguageModel, dialogue: Dialogue) -> tuple[Tensor, Tensor, Tensor]:
    """The transcript of a dialogue with its true answers."""
    answers = [answer_ids(model, turn.answer) for turn in dialogue.turns]
    return transcript(model, [turn.question for turn in dialogue.turns], answers)


@torch.no_grad()
def prepare(model: VisionLanguageModel, dialogues: Sequence[Dialogue], batch: int = 32) -> Samples:
    """Encodes images and asks the uncompressed model, once for all: a step then runs the student only."""
    rows = [dialogue_ids(model, dialogue) for dialogue in dialogues]
    embeddings = torch.cat(
        [
            torch.stack(
                [t.embeddings for t in model.encode_batch([d.image for d in dialogues[b : b + batch]])]
            )
            for b in range(0, len(dialogues), batch)
        ]
    )
    samples = Samples(
        embeddings.half(),
        rows[0][0],
        pad_sequence([row[1] for row in rows], batch_first=True),
        pad_sequence([row[2] for row in rows], batch_first=True),
        [],
    )
    for begin in range(0, len(dialogues), batch):
        chosen = torch.arange(begin, min(begin + batch, len(dialogues)))
        image = samples.embeddings[chosen].float()
        logits = response_logits(
            model, image, samples.before, samples.after[chosen], samples.response[chosen]
        )
        samples.teacher.extend(x.half() for x in logits)
    return samples


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to zero."""
    if step < settings.warmup:
        return settings.peak * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.peak * 0.5 * (1 + math.cos(math.pi * done))


def losses(
    model: VisionLanguageModel, generator: nn.Module, samples: Samples, rows: Tensor, rate: float
) -> dict[str, Tensor]:
    """The three terms of equation 10 on some rows at one rate."""
    image = samples.embeddings[rows].float()
    weights = generator(image, token_budget(image.shape[1], rate))  # (B, m, n)
    student = torch.cat(
        response_logits(model, weights @ image, samples.before, samples.after[rows], samples.response[rows])
    )
    teacher = torch.cat([samples.teacher[row].float() for row in rows.tolist()])
    return {
        "prediction": prediction_loss(teacher, student),
        "entropy": entropy_loss(weights),
        "collapse": collapse_loss(weights),
    }


def fit(
    model: VisionLanguageModel,
    generator: nn.Module,
    samples: Samples,
    settings: Settings,
    log: Callable[[dict], None] = lambda line: None,
) -> None:
    """Trains ``generator``, a module from (embeddings (B, n, d), budget) to P (B, m, n), in place.

    Args:
        model: the frozen model.
        generator: ``MetaCompress`` or another module of that form.
        samples: from ``prepare``.
        settings: how to train.
        log: is given a line with the losses every 20 steps.
    """
    for parameter in model.hf.parameters():
        parameter.requires_grad_(False)
    parameters = list(generator.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.peak, weight_decay=0.0)
    draw = torch.Generator().manual_seed(settings.seed)
    since = time.perf_counter()
    for step in range(settings.steps):
        rows = torch.randint(len(samples), (settings.batch,), generator=draw)
        rate = settings.rates[int(torch.randint(len(settings.rates), (), generator=draw))]
        terms = losses(model, generator, samples, rows, rate)
        loss = (
            terms["prediction"] + settings.entropy * terms["entropy"] + settings.collapse * terms["collapse"]
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip_by == "norm":
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        else:
            nn.utils.clip_grad_value_(parameters, settings.clip)
        optimizer.step()
        if (step + 1) % 20 == 0:
            shown = {name: round(value.item(), 4) for name, value in terms.items()}
            log({"step": step + 1, "seconds": round(time.perf_counter() - since, 1), "rate": rate, **shown})


def write_log(path: Path, settings: Settings) -> Callable[[dict], None]:
    """A ``log`` for ``fit``: JSON lines, the settings first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"settings": asdict(settings)}) + "\n", encoding="utf-8")

    def log(line: dict) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return log
