"""Stages 1 and 2: the vision tower and the projector learn to name what every patch shows.

As for ``tiny``, every visual token is asked, through the projector and against the language model's own word
embeddings. Stage 1 is on crowded pictures, which show several times as many objects for the same work, and
attends within windows of 12 x 12 patches, which halves that work. Stage 2 attends everywhere, on pictures of
the world and crowded ones in turn; in those of the world objects are counted, and [CLS], read after the last
layer, answers for the whole image. No label says which patches matter.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled.small.model import vocabulary
from compressor.training.bundled.small.patches import (
    CHARACTERS,
    GROUPS,
    IGNORE,
    MOST_ALIKE,
    NOTHING,
    NUMBERS,
    SIDE,
    patch_targets,
)
from compressor.training.bundled.vision import pixels
from compressor.world import dense_scenes
from compressor.world.dense.layout import GROUNDS, MOST, NAMES, DenseLayout, draw_crowd
from compressor.world.dense.rendering import render

WINDOW = 12  # patches
SIGNS = 0.25  # share of signs in crowds: their characters take longest to learn
_WEIGHTS = {"class": 2.0, "ground": 0.5}


def word_table(model: LlavaForConditionalGeneration, group: str) -> Tensor:
    """The embeddings of a group's words, (words, d)."""
    words = vocabulary()
    table = model.model.language_model.embed_tokens.weight.detach()
    return table[[words.index(word) for word in GROUPS[group]]].clone()


class VisionObjective(nn.Module):
    """The dense and image-level losses, with the heads that are thrown away afterwards."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.words = {group: word_table(model, group) for group in GROUPS}
        width, hidden = self.words["class"].shape[1], model.config.vision_config.hidden_size
        self.temperature = width**-0.5
        self.numbers = nn.ModuleDict({name: nn.Linear(width, MOST_ALIKE + 1) for name in NUMBERS})
        self.numbers["character"] = nn.Linear(width, len(CHARACTERS))
        self.at = nn.Linear(width, 2)
        self.image = nn.ModuleDict(
            {
                "present": nn.Linear(hidden, len(NAMES)),
                "grounds": nn.Linear(hidden, len(GROUNDS)),
                "total": nn.Linear(hidden, MOST + 1),
            }
        )

    def dense(self, tokens: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The loss over all patches and the accuracy by group; "at" is a mean error.

        Args:
            tokens: after the projector, (B, n, d).
            targets: of ``patch_targets``, (B, n) or (B, n, 2) each.
        """
        losses, accuracy = {}, {}
        for name in (*GROUPS, *self.numbers):
            clear = targets[name] != IGNORE
            if not clear.any():
                continue
            states, target = tokens[clear], targets[name][clear]
            words = self.words.get(name)
            logits = states @ words.T * self.temperature if words is not None else self.numbers[name](states)
            right = logits.argmax(-1) == target
            loss = F.cross_entropy(logits, target, reduction="none")
            if name == "class":  # objects and ground count the same, however few patches objects cover
                ground = target == NOTHING
                losses["nothing"] = loss[ground].mean() if ground.any() else loss.sum() * 0
                loss, right = loss[~ground], right[~ground]
            losses[name] = _WEIGHTS.get(name, 1.0) * loss.mean()
            accuracy[name] = right.float().mean().item()
        error = (self.at(tokens) - targets["at"]).abs()
        on_objects = error[targets["color"] != IGNORE].mean()
        losses["at"] = 2 * error.mean() + 2 * on_objects
        return sum(losses.values()), accuracy | {"at": on_objects.item()}

    def of_image(self, cls: Tensor, whole: dict[str, Tensor]) -> Tensor:
        """The loss of [CLS] after the last layer, (B, d_v), against ``whole`` of ``batch``."""
        loss = 0.2 * F.cross_entropy(self.image["total"](cls), whole["total"])
        for name in ("present", "grounds"):
            loss = loss + F.binary_cross_entropy_with_logits(self.image[name](cls), whole[name])
        return loss


def read_windows(model: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """The visual tokens (B, n, d) where a patch attends to its window only, and there is no [CLS]."""
    tower, count = model.model.vision_tower, SIDE // WINDOW
    states = tower.pre_layrnorm(tower.embeddings(images)[:, 1:])
    shape = (len(images), count, WINDOW, count, WINDOW, states.shape[-1])
    states = states.reshape(shape).transpose(2, 3).reshape(-1, WINDOW**2, shape[-1])
    for layer in tower.encoder.layers[: model.config.vision_feature_layer + 1]:
        states = layer(states, None)
    shape = (len(images), count, count, WINDOW, WINDOW, shape[-1])
    states = states.reshape(shape).transpose(2, 3).reshape(len(images), SIDE**2, shape[-1])
    return model.model.multi_modal_projector(states)


def read(model: LlavaForConditionalGeneration, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the projector reads (B, n, d_v), its tokens (B, n, d), and [CLS] after the last layer (B, d_v)."""
    out = model.model.vision_tower(images, output_hidden_states=True)
    features = out.hidden_states[model.config.vision_feature_layer][:, 1:]
    return features, model.model.multi_modal_projector(features), out.pooler_output


def _whole(layouts: list[DenseLayout]) -> dict[str, Tensor]:
    grounds = [{layout.ground.first, layout.ground.second} for layout in layouts]
    return {
        "present": torch.tensor([[float(layout.counts[c] > 0) for c in NAMES] for layout in layouts]),
        "grounds": torch.tensor([[float(g in both) for g in GROUNDS] for both in grounds]),
        "total": torch.tensor([min(len(layout.objects), MOST) for layout in layouts]),
    }


def _batch(
    layouts: list[DenseLayout], seeds: list[int], crowd: bool
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    images = [render(o, np.random.default_rng([s, 1])) for o, s in zip(layouts, seeds, strict=True)]
    rows = [patch_targets(layout, crowd) for layout in layouts]
    targets = {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in rows[0]}
    return pixels(images), targets, _whole(layouts)


def crowd_batch(step: int, size: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Crowded pictures, their patch targets and what is true of the whole picture; a function of ``step``."""
    seeds = [step * size + i for i in range(size)]
    return _batch([draw_crowd(np.random.default_rng([seed, 4]), signs=SIGNS) for seed in seeds], seeds, True)


def scene_batch(step: int, size: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """As ``crowd_batch``, of scenes of the world."""
    seeds = [step * size + i for i in range(size)]
    return _batch([dense_scenes.layout(seed) for seed in seeds], seeds, False)
