"""Stages 4 and 5: the language model learns to chat from visual tokens, blind to where the objects are.

Stage 4 reads what the tokens are meant to be, see `alignment`, with noise: it needs no picture, and can run
beside the stages before. Stage 5 goes on with the tokens of the trained tower, which is frozen. Every batch
reads another selection or average of the visual tokens, see `reductions`, at consecutive or at the original
positions by coin flip, so that no way of reducing tokens is new to the model and none is favoured. Heads ask
for what must be looked up on the way to an answer, from the first step; they are thrown away afterwards.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled.small import texts, vision
from compressor.training.bundled.small.patches import IGNORE
from compressor.training.bundled.small.texts import CONTENTS, HEADS, INSIDE_LAYER, WORD_IDS, Batch
from compressor.training.bundled.vision import pixels
from compressor.world import dense_scenes
from compressor.world.dense.layout import DenseLayout

PREFIX = (WORD_IDS["<s>"], WORD_IDS[texts.USER])
CHUNK = 16  # pictures encoded at a time: always the same ones together, so that a resumed run sees the same


def forward(
    model: LlavaForConditionalGeneration, tokens: Tensor, batch: Batch, positions: Tensor, start: int
) -> tuple[Tensor, ...]:
    """Runs the decoder over ``<s> user: IMAGE chats``; returns the chats' hidden states, (B, L, d) each.

    Args:
        model: the model.
        tokens: reduced tokens (B, m, d).
        batch: the chats.
        positions: position (m,) of each image token, counted from the first.
        start: position of the first token of each chat, counted from the first image token.
    """
    language, count = model.model.language_model, len(PREFIX)
    size, m = tokens.shape[:2]
    before = torch.tensor(PREFIX).expand(size, count)
    embeds = torch.cat([language.embed_tokens(before), tokens, language.embed_tokens(batch.ids)], 1)
    shared = torch.cat([torch.arange(count), count + positions]).expand(size, -1)
    where = torch.cat([shared, count + start + batch.positions], 1)
    segments = torch.cat([torch.zeros(size, count + m, dtype=torch.long), batch.segments], 1)
    length = embeds.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    sees = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
    out = language(
        inputs_embeds=embeds,
        position_ids=where,
        attention_mask=torch.zeros(()).masked_fill(~(sees & causal), torch.finfo(torch.float32).min)[:, None],
        output_hidden_states=True,
        use_cache=False,
    )
    return tuple(states[:, count + m :] for states in out.hidden_states)


class LookupHeads(nn.Module):
    """One linear head per kind of lookup, each on its own depth of the decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, (_, size) in HEADS.items()})
        self.inside = nn.Linear(width, len(CONTENTS))

    def forward(self, hidden: tuple[Tensor, ...], batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The sum of the heads' losses over hidden states (B, L, d) by layer, and each head's accuracy."""
        total, accuracy = hidden[0].new_zeros(()), {}
        for name, (layer, _) in HEADS.items():
            asked = batch.heads[name] != IGNORE
            if asked.any():
                logits, target = self.heads[name](_unit(hidden[layer][asked])), batch.heads[name][asked]
                total = total + F.cross_entropy(logits, target)
                accuracy[name] = (logits.argmax(-1) == target).float().mean().item()
        if batch.inside:
            rows, places = (torch.tensor([entry[i] for entry in batch.inside]) for i in range(2))
            target = torch.zeros(len(batch.inside), len(CONTENTS))
            for row, (_, _, classes) in enumerate(batch.inside):
                target[row, classes] = 1.0 / len(classes)
            logits = self.inside(_unit(hidden[INSIDE_LAYER][rows, places]))
            total = total + 2 * F.cross_entropy(logits, target)
            hits = target.gather(1, logits.argmax(1, keepdim=True)) > 0
            accuracy["inside"] = hits.float().mean().item()
        return total, accuracy


def _unit(states: Tensor) -> Tensor:
    return states * torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + 1e-6)


class FeaturePool:
    """The frozen features of scenes, (n, d_v) float16 each; picture i is the scene ``offset + i``."""

    def __init__(self, model: LlavaForConditionalGeneration, offset: int, capacity: int) -> None:
        n, width = model.config.image_seq_length, model.config.vision_config.hidden_size
        self.model, self.offset, self.count = model, offset, 0
        self.features = torch.empty(capacity, n, width, dtype=torch.float16)
        self.layouts: list[DenseLayout] = []

    @torch.no_grad()
    def grow(self, count: int) -> None:
        """Draws and encodes scenes until there are ``count``, in whole chunks, or the pool is full."""
        while self.count < min(count, len(self.features)):
            drawn = [dense_scenes.scene(self.offset + self.count + i) for i in range(CHUNK)]
            features, _, _ = vision.read(self.model, pixels([scene.image for scene in drawn]))
            self.features[self.count : self.count + CHUNK] = features.half()
            self.layouts += [scene.layout for scene in drawn]
            self.count += CHUNK


@torch.no_grad()
def validate(model: LlavaForConditionalGeneration, pool: FeaturePool, length: int = 300) -> dict[str, float]:
    """The share of answers without a wrong token, by kind, on all tokens of ``pool``'s pictures.

    Earlier answers, and the earlier tokens of an answer, are given as they should be.
    """
    right: dict[str, list[bool]] = {}
    for begin in range(0, pool.count, 8):
        rows = list(range(begin, min(begin + 8, pool.count)))
        packed = [
            texts.pack(pool.layouts[i], np.random.default_rng([pool.offset + i, 7]), length) for i in rows
        ]
        batch = texts.collate(packed)
        tokens = model.model.multi_modal_projector(pool.features[rows].float())
        n = tokens.shape[1]
        states = forward(model, tokens, batch, torch.arange(n), n)[-1]
        asked = batch.labels != IGNORE
        same = asked.clone()
        same[asked] = model.lm_head(states[asked]).argmax(-1) == batch.labels[asked]
        for row, text in enumerate(packed):
            for kind, first, last in text.answers:
                right.setdefault(kind, []).append(bool(same[row, first : last + 1].all()))
    result = {kind: round(float(np.mean(marks)), 3) for kind, marks in sorted(right.items())}
    return {"all": round(float(np.mean([m for marks in right.values() for m in marks])), 3)} | result
