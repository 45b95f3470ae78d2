"""Answers to many dialogues side by side, each turn after the model's own earlier answers."""

import zlib
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from compressor import fingerprint
from compressor.chat.batch import Prune, greedy_answer_ids
from compressor.chat.prompt_pruning import prompt_pruning
from compressor.dialogues import Dialogue
from compressor.errors import InvalidOptionError
from compressor.methods.base import DecoderMethod, Method
from compressor.methods.selection import Random
from compressor.models.base import VisionLanguageModel
from compressor.projection import Projection, token_budget
from compressor.tokens import ImageTokens

BATCH = 25  # dialogues; their images are encoded together and answered together
MAX_NEW_TOKENS = 16

Project = Callable[[ImageTokens, int, Dialogue], Projection]
Projections = Callable[[Sequence[ImageTokens], Sequence[int]], Sequence[Projection]]


@dataclass(frozen=True, eq=False)
class Reduction:
    """One image as the language model is given it.

    Args:
        image: (m, d), or (n, d) where the language model prunes itself.
        m: tokens that stay.
        prune: what leaves inside the decoder once it reads a prompt; None where nothing does.
    """

    image: Tensor
    m: int
    prune: Prune | None = None


@torch.no_grad()
def reductions(
    model: VisionLanguageModel,
    method: Method | Projections,
    tokens: Sequence[ImageTokens],
    budgets: Sequence[int],
) -> list[Reduction]:
    """Reduce several images at once.

    Args:
        model: that will read them.
        method: of any stage, or what gives the P of all images as `Method.projections` does.
        tokens: of each image.
        budgets: m of each.
    """
    if isinstance(method, DecoderMethod):
        return [_pruned(model, method, image, m) for image, m in zip(tokens, budgets, strict=True)]
    project = method.projections if isinstance(method, Method) else method
    projections = project(tokens, budgets)
    return [Reduction(model.compress(image, p), p.m) for image, p in zip(tokens, projections, strict=True)]


def _pruned(model: VisionLanguageModel, method: DecoderMethod, tokens: ImageTokens, budget: int) -> Reduction:
    n, prune = len(tokens), None
    if budget < n:
        image_id = model.image_token_id
        prune = partial(prompt_pruning, method, image_token_id=image_id, n=n, budget=budget)
    return Reduction(tokens.embeddings, budget, prune)


@dataclass(frozen=True)
class Setting:
    """One row of a table: a way to reduce the tokens, at a rate.

    Args:
        method: its name in the tables.
        rate: share of the tokens that goes, in [0, 1).
        project: a method, or what gives the P of one image and may know the dialogue about it.
        needs: what it asks of the encoder, see `Method.needs`.
        weights: tells learned weights apart, so that answers are never taken for those of others.
    Raises:
        InvalidRateError: the rate is outside its range.
    """

    method: str
    rate: float
    project: Method | Project
    needs: frozenset[str] = frozenset()
    weights: str = ""

    def __post_init__(self) -> None:
        token_budget(1, self.rate)  # refuses a bad rate before anything is computed

    @classmethod
    def of(cls, method: Method, rate: float, name: str | None = None) -> Self:
        """A method at a rate; `name` is the method's own unless given."""
        project = random_per_image if isinstance(method, Random) else method
        return cls(name or method.name, rate, project, method.needs, weights_digest(method))

    def reducer(self, dialogues: Sequence[Dialogue]) -> Method | Projections:
        """What `reductions` asks for, about the images of these dialogues."""
        project = self.project
        if isinstance(project, Method):
            return project
        return lambda tokens, budgets: list(map(project, tokens, budgets, dialogues))

    @property
    def key(self) -> str:
        """The same in every run, and different for everything that could change an answer."""
        return " ".join(filter(None, (self.method, repr(float(self.rate)), self.weights)))


def weights_digest(method: Method | nn.Module) -> str:
    """Of a learned method's parameters and of how it computes with them."""
    if not isinstance(method, nn.Module):
        return ""
    parameters = fingerprint.of_tensors(method.state_dict())
    return fingerprint.short_name({"parameters": parameters, "config": getattr(method, "config", None)})


def random_per_image(tokens: ImageTokens, budget: int, dialogue: Dialogue) -> Projection:
    """Random selection, drawn anew for every dialogue and the same in every run."""
    return Random(seed=zlib.crc32(dialogue.id.encode())).projection(tokens, budget)


@dataclass(frozen=True)
class Answers:
    """What a model said to one dialogue under one setting.

    Args:
        setting: key of the setting.
        dialogue: id of the dialogue.
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


def answer_dialogues(
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
            todo = [(d, image) for d, image in pairs if (setting.key, d.id) not in known]
            if todo:
                yield _answer_setting(model, todo, setting, max_new_tokens)


def _answer_setting(
    model: VisionLanguageModel,
    todo: Sequence[tuple[Dialogue, ImageTokens]],
    setting: Setting,
    max_new_tokens: int,
) -> list[Answers]:
    if isinstance(setting.project, DecoderMethod) and setting.project.reselect:
        raise InvalidOptionError(
            "Evaluation prunes inside the decoder once per dialogue: leave reselect off."
        )
    dialogues, tokens = zip(*todo, strict=True)
    budgets = [token_budget(len(image), setting.rate) for image in tokens]
    reduced = reductions(model, setting.reducer(dialogues), tokens, budgets)
    replies = greedy_answer_ids(
        model,
        [reduction.image for reduction in reduced],
        [[turn.question for turn in dialogue.turns] for dialogue in dialogues],
        max_new_tokens,
        [reduction.prune for reduction in reduced],
    )
    return [
        Answers(setting.key, dialogue.id, [model.decode(reply) for reply in chat], reduction.m)
        for dialogue, chat, reduction in zip(dialogues, replies, reduced, strict=True)
    ]
