"""Stage 3: the language model learns to answer from visual tokens, blind to where the objects are.

The vision tower is frozen. Every batch reads a different selection or average of the visual tokens, drawn
without a look at the scene: regular sub-grids, random subsets, averages over the grid and along the
sequence, and all of them; positions are consecutive or the original ones, by coin flip. So no way of
reducing tokens is new to the model, and none is favoured. Heads on the words of the questions ask for
what must be looked up on the way to the answer; they are thrown away afterwards.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled import vision
from compressor.training.bundled.model import vocabulary
from compressor.world import questions, scenes
from compressor.world.layout import CELLS, CLASSES, DISC_COLORS, NOTHING, Layout, neighbour_cell

IGNORE = -100
WORD_IDS = {word: index for index, word in enumerate(vocabulary())}
CONTENTS = {word: index for index, word in enumerate((*CLASSES, NOTHING))}
TRAINING_KINDS = (
    *questions.KINDS,
    "region",
    "relation",
    "relation",
    "count",
    "total",
)  # the late ones more often
# head -> (decoder layers that have run, number of classes)
HEADS = {
    "cell": (2, len(CELLS)),
    "color": (2, len(DISC_COLORS)),
    "count": (2, 5),
    "content": (2, len(CONTENTS)),
    "neighbour cell": (2, len(CELLS)),
    "neighbour": (3, len(CONTENTS)),
    "it cell": (4, len(CELLS)),
    "it color": (4, len(DISC_COLORS)),
    "them count": (4, 5),
}


def tokenize(text: str) -> list[int]:
    """The ids of a question of the world, without a start token, as the tokenizer gives them."""
    return [WORD_IDS[word] for word in text.replace("?", " ?").split()]


@dataclass
class Packed:
    """A text of many turns: ids, the labels of its answer tokens, and the targets of each head."""

    ids: list[int]
    labels: list[int]
    heads: dict[str, dict[int, int]]
    kinds: dict[int, str]


def _lookups(layout: Layout, question: questions.Question, resolved: questions.Question) -> dict[str, int]:
    """What must be looked up at the word that the question turns on, by head."""
    name, kind = resolved.name, question.kind
    pronoun = kind in questions.FOLLOW_UPS
    if kind == "region":
        return {"content": CONTENTS[questions.true_answer(layout, question)]}
    if name not in CLASSES:
        return {}
    targets = {"them count" if pronoun else "count": layout.counts[name]} if kind != "it where" else {}
    if item := layout.unique.get(name):
        targets["it cell" if pronoun else "cell"] = item.cell
        targets["it color" if pronoun else "color"] = list(DISC_COLORS).index(item.color)
        if kind == "relation":
            targets["neighbour cell"] = neighbour_cell(item.cell, question.direction)
            targets["neighbour"] = CONTENTS[questions.true_answer(layout, question)]
    return targets


def pack(layout: Layout, rng: np.random.Generator, turns: int, kinds: tuple[str, ...]) -> Packed:
    """Draws ``turns`` turns about a scene and lays them out as the chat template does after the image."""
    packed = Packed([], [], {name: {} for name in HEADS}, {})
    referents = questions.Referents()
    for index in range(turns):
        question = questions.draw_question(layout, referents, rng, kinds)
        resolved = questions.resolve(question, referents)
        if index:
            packed.ids += [WORD_IDS["user"], WORD_IDS[":"]]
        key = {"it color": "it", "it where": "it", "them count": "them"}.get(question.kind, question.name)
        if question.kind == "count":
            key = CLASSES[question.name]
        words = tokenize(question.text)
        if key:
            at = len(packed.ids) + words.index(WORD_IDS[key])
            for head, target in _lookups(layout, question, resolved).items():
                packed.heads[head][at] = target
        answer = WORD_IDS[questions.true_answer(layout, resolved)]
        packed.ids += [*words, WORD_IDS["assistant"], WORD_IDS[":"]]
        packed.labels += [IGNORE] * (len(packed.ids) - len(packed.labels) - 1) + [answer, WORD_IDS["</s>"]]
        packed.kinds[len(packed.ids) - 1] = question.kind
        packed.ids += [answer, WORD_IDS["</s>"]]
        packed.labels += [IGNORE]
        referents = questions.update_referents(layout, question, referents)
    return packed


def collate(texts: list[Packed]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Pads at the right: ids (B, L), labels (B, L) and head targets (B, L) each."""
    length = max(len(t.ids) for t in texts)
    ids = torch.full((len(texts), length), WORD_IDS["<pad>"])
    labels = torch.full((len(texts), length), IGNORE)
    heads = {name: torch.full((len(texts), length), IGNORE) for name in HEADS}
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        labels[row, : len(text.labels)] = torch.tensor(text.labels)
        for name, targets in text.heads.items():
            for at, target in targets.items():
                heads[name][row, at] = target
    return ids, labels, heads


def _subset(rng: np.random.Generator, n: int, low: int, high: int) -> np.ndarray:
    size = int(np.exp(rng.uniform(np.log(low), np.log(high))))
    return np.sort(rng.choice(n, size=size, replace=False))


def draw_reduction(rng: np.random.Generator, progress: float, n: int) -> tuple[Tensor, Tensor]:
    """A way to reduce n tokens that knows nothing of the scene.

    Returns:
        P (m, n), and the original position (m,) of each row. Early in training few tokens are left.
    """
    side = round(n**0.5)
    index = np.arange(n).reshape(side, side)
    early = np.array([0.1, 0.35, 0.35, 0.2, 0.0, 0.0, 0.0])
    middle = np.array([0.03, 0.15, 0.3, 0.27, 0.1, 0.05, 0.1])
    late = np.array([0.0, 0.1, 0.1, 0.25, 0.1, 0.1, 0.35])
    odds = early if progress < 0.12 else middle if progress < 0.65 else late
    way = rng.choice(["coarse", "average", "grid", "subset", "sequence", "equidistant", "all"], p=odds)
    if way in ("coarse", "average"):
        k = 4 if way == "coarse" else 2
        groups = index.reshape(side // k, k, side // k, k).transpose(0, 2, 1, 3).reshape(-1, k * k)
    elif way == "sequence":
        bounds = np.linspace(0, n, int(rng.integers(26, n)) + 1).astype(int)
        groups = [index.ravel()[a:b] for a, b in pairwise(bounds)]
    elif way == "grid":
        groups = index[rng.integers(2) :: 2, rng.integers(2) :: 2].reshape(-1, 1)
    elif way == "subset":
        groups = _subset(rng, n, 16, n)[:, None]
    elif way == "equidistant":
        m = int(rng.integers(20, n // 2))
        groups = (np.arange(m) * n // m)[:, None]
    else:
        groups = index.reshape(-1, 1)
    weights = torch.zeros(len(groups), n)
    for row, members in enumerate(groups):
        weights[row, torch.as_tensor(members)] = 1 / len(members)
    return weights, torch.tensor([int(np.mean(members)) for members in groups])


def forward(
    model: LlavaForConditionalGeneration, tokens: Tensor, ids: Tensor, positions: Tensor, start: int
) -> tuple[Tensor, ...]:
    """Runs the decoder over ``<s> user : IMAGE text``; returns all hidden states of the text, (B, L, d) each.

    Args:
        model: the model.
        tokens: reduced tokens (B, m, d).
        ids: text after the image (B, L).
        positions: position (m,) of each image token, counted from the first.
        start: position of the first text token, counted from the first image token.
    """
    language = model.model.language_model
    before = torch.tensor([WORD_IDS["<s>"], WORD_IDS["user"], WORD_IDS[":"]]).expand(len(ids), 3)
    embeds = torch.cat([language.embed_tokens(before), tokens, language.embed_tokens(ids)], 1)
    where = torch.cat([torch.arange(3), 3 + positions, 3 + start + torch.arange(ids.shape[1])])
    out = language(
        inputs_embeds=embeds,
        position_ids=where.expand(len(ids), -1),
        # without a mask, gaps between positions would be read as borders of packed sequences
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
        output_hidden_states=True,
        use_cache=False,
    )
    return tuple(h[:, 3 + tokens.shape[1] :] for h in out.hidden_states)


class LookupHeads(nn.Module):
    """One linear head per kind of lookup, each on its own depth of the decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, (_, size) in HEADS.items()})

    def forward(
        self, hidden: tuple[Tensor, ...], targets: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum of the heads' losses over hidden states (B, L, d) by layer, and each head's accuracy."""
        total, accuracy = hidden[0].new_zeros(()), {}
        for name, (layer, _) in HEADS.items():
            asked = targets[name] != IGNORE
            if asked.any():
                states = hidden[layer][asked]
                states = states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + 1e-6)
                logits, target = self.heads[name](states), targets[name][asked]
                total = total + F.cross_entropy(logits, target)
                accuracy[name] = (logits.argmax(-1) == target).float().mean().item()
        return total, accuracy


class FeaturePool:
    """The frozen features of scenes, (n, d_v) float16 each; image i is the training scene ``offset + i``."""

    def __init__(self, model: LlavaForConditionalGeneration, offset: int, capacity: int) -> None:
        n, width = model.config.image_seq_length, model.config.vision_config.hidden_size
        self.model, self.offset, self.count = model, offset, 0
        self.features = torch.empty(capacity, n, width, dtype=torch.float16)
        self.layouts: list[Layout] = []

    @torch.no_grad()
    def grow(self, count: int) -> None:
        """Renders and encodes scenes until there are ``count``, or the capacity is reached."""
        count = min(count, len(self.features))
        while self.count < count:
            size = min(32, count - self.count)
            drawn = [scenes.scene(self.offset + self.count + i) for i in range(size)]
            features, _, _ = vision.read(self.model, vision.pixels([s.image for s in drawn]))
            self.features[self.count : self.count + size] = features.half()
            self.layouts += [s.layout for s in drawn]
            self.count += size


@torch.no_grad()
def validate(model: LlavaForConditionalGeneration, pool: FeaturePool, turns: int = 10) -> dict[str, float]:
    """Accuracy by kind on the scenes of ``pool``, all tokens, earlier answers given (teacher forcing)."""
    right: dict[str, list[bool]] = {kind: [] for kind in questions.KINDS}
    for begin in range(0, pool.count, 25):
        rows = range(begin, min(begin + 25, pool.count))
        texts = [
            pack(pool.layouts[i], np.random.default_rng([pool.offset + i, 7]), turns, questions.KINDS)
            for i in rows
        ]
        ids, labels, _ = collate(texts)
        tokens = model.model.multi_modal_projector(pool.features[list(rows)].float())
        n = tokens.shape[1]
        guess = model.lm_head(forward(model, tokens, ids, torch.arange(n), n)[-1]).argmax(-1)
        for row, text in enumerate(texts):
            for at, kind in text.kinds.items():
                right[kind].append(bool(guess[row, at] == labels[row, at]))
    result = {kind: round(float(np.mean(marks)), 3) for kind, marks in right.items() if marks}
    return {"all": round(float(np.mean([m for marks in right.values() for m in marks])), 3)} | result
