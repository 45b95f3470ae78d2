"""Answers to many dialogues side by side, each turn after the model's own earlier answers."""

import hashlib
import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from compressor.data.dialogues import Dialogue
from compressor.decoding import Pruning
from compressor.errors import InvalidOptionError
from compressor.methods.base import DecoderMethod, Method
from compressor.methods.selection import Random
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.prompt_pruning import prompt_pruning
from compressor.replies import Prune, greedy_replies
from compressor.tokens import ImageTokens

BATCH = 25  # dialogues; their images are encoded together and answered together
MAX_NEW_TOKENS = 16

Project = Callable[[ImageTokens, int, Dialogue], Projection]


@dataclass(frozen=True)
class Setting:
    """One row of a table: a way to reduce the tokens, at a rate.

    Args:
        method: its name in the tables.
        rate: share of the tokens that goes, in [0, 1).
        project: gives P for an image and a budget, or prunes inside the decoder.
        needs: what it asks of the encoder, see `Method.needs`.
        weights: tells learned weights apart, so that answers are never taken for those of others.
    Raises:
        InvalidRateError: the rate is outside its range.
    """

    method: str
    rate: float
    project: Project | DecoderMethod
    needs: frozenset[str] = frozenset()
    weights: str = ""

    def __post_init__(self) -> None:
        token_budget(1, self.rate)  # refuses a bad rate before anything is computed

    @classmethod
    def of(cls, method: Method, rate: float, name: str | None = None) -> Self:
        """A method at a rate; `name` is the method's own unless given."""
        project = random_per_image if isinstance(method, Random) else by_method(method)
        return cls(name or method.name, rate, project, method.needs, _digest(method))

    @property
    def key(self) -> str:
        """The same in every run, and different for everything that could change an answer."""
        return " ".join(filter(None, (self.method, repr(float(self.rate)), self.weights)))


def _digest(method: Method) -> str:
    """Of a method's parameters, if it has any."""
    if not isinstance(method, nn.Module):
        return ""
    digest = hashlib.sha256()
    for name, value in sorted(method.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:12]


def by_method(method: Method) -> Project | DecoderMethod:
    """A method as what a `Setting` asks for: it sees the tokens and the budget, never the dialogue."""
    if isinstance(method, DecoderMethod):
        return method
    return lambda tokens, budget, dialogue: method.projection(tokens, budget)


def random_per_image(tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
    """Random selection, drawn anew for every dialogue and the same in every run."""
    return Random(seed=zlib.crc32(dialogue.id.encode())).projection(tokens, budget)


@dataclass(frozen=True)
class Answers:
    """What a model said to one dialogue under one setting.

    Args:
        setting: its key; dialogue: its id.
        texts: one per turn.
        image_tokens: m, that the language model read.
    """

    setting: str
    dialogue: str
    texts: list[str]
    image_tokens: int

    @property
    def key(self) -> tuple[str, str]:
        """Of what it answers."""
        return self.setting, self.dialogue


def answer(
    model: VisionLanguageModel,
    dialogues: Sequence[Dialogue],
    settings: Sequence[Setting],
    *,
    known: Container[tuple[str, str]] = (),
    batch: int = BATCH,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Iterator[list[Answers]]:
    """Answers dialogues under all settings, batch by batch; every image is encoded once.

    Args:
        model: the model.
        dialogues: all with the same number of turns, each with an id of its own.
        settings: whatever is to be compared.
        known: pairs of setting and dialogue that are answered already.
        batch: dialogues to be answered side by side.
        max_new_tokens: length at which an answer ends at the latest.
    Raises:
        ContextLengthError: a dialogue does not fit into what the model can read.
    """
    open_ = [d for d in dialogues if any((setting.key, d.id) not in known for setting in settings)]
    open_.sort(key=lambda dialogue: sum(len(turn.question) for turn in dialogue.turns))  # little padding
    want = frozenset().union(*(setting.needs for setting in settings))
    for begin in range(0, len(open_), batch):
        together = open_[begin : begin + batch]
        tokens = model.encode_batch([dialogue.image for dialogue in together], want)
        for setting in settings:
            pairs = zip(together, tokens, strict=True)
            asked = [(d, seen) for d, seen in pairs if (setting.key, d.id) not in known]
            if asked:
                yield _answer_setting(model, asked, setting, max_new_tokens)


def _answer_setting(
    model: VisionLanguageModel,
    asked: Sequence[tuple[Dialogue, ImageTokens]],
    setting: Setting,
    max_new_tokens: int,
) -> list[Answers]:
    reduced, prune, sizes = _reductions(model, asked, setting)
    questions = [[turn.question for turn in dialogue.turns] for dialogue, _ in asked]
    replies = greedy_replies(model, reduced, questions, max_new_tokens, prune)
    return [
        Answers(setting.key, dialogue.id, [model.decode(reply) for reply in chat], m)
        for (dialogue, _), chat, m in zip(asked, replies, sizes, strict=True)
    ]


def _reductions(
    model: VisionLanguageModel, asked: Sequence[tuple[Dialogue, ImageTokens]], setting: Setting
) -> tuple[list[Tensor], Prune | None, list[int]]:
    """What the language model is given of each image, what it prunes itself, and how many tokens stay."""
    project, rate = setting.project, setting.rate
    budgets = [token_budget(len(seen), rate) for _, seen in asked]
    if isinstance(project, DecoderMethod):
        if project.reselect:
            raise InvalidOptionError(
                "Evaluation prunes inside the decoder once per dialogue: leave reselect off."
            )

        def prune(ids: list[int], image: Tensor) -> Pruning:
            budget = token_budget(len(image), rate)
            return prompt_pruning(project, ids, model.image_token_id, len(image), budget)

        return [seen.embeddings for _, seen in asked], prune, budgets
    with torch.no_grad():
        projections = [
            project(seen, budget, dialogue) for (dialogue, seen), budget in zip(asked, budgets, strict=True)
        ]
        reduced = [model.compress(seen, p) for (_, seen), p in zip(asked, projections, strict=True)]
    return reduced, None, [p.m for p in projections]
