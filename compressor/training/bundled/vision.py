"""Stage 1: the vision tower and the projector learn to name what every patch shows.

Each visual token is asked, through the projector and against the language model's own word embeddings,
for the class and disc colour of the object on its patch, its cell, and the background's colour and
pattern; linear heads ask for numbers (how many of this class, how many objects). [CLS], read after the last
layer, answers for the whole image. No target says which patches matter.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from compressor.training.bundled.model import PATCH, vocabulary
from compressor.world import scenes
from compressor.world.layout import (
    BACKGROUND_COLORS,
    CELLS,
    CLASSES,
    DISC_COLORS,
    GRID,
    IMAGE_SIZE,
    NOTHING,
    PATTERNS,
    Layout,
)

SIDE = IMAGE_SIZE // PATCH
IGNORE = -100
GROUPS = {
    "class": (*CLASSES, NOTHING),
    "color": tuple(DISC_COLORS),
    "cell": CELLS,
    "background": tuple(BACKGROUND_COLORS),
    "pattern": PATTERNS,
}
_INDEX = {group: {word: i for i, word in enumerate(words)} for group, words in GROUPS.items()}


def pixels(images: list) -> Tensor:
    """(B, 3, H, W) float32 in [-1, 1], as the processor of the model makes them."""
    stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return stacked.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()


def patch_targets(layout: Layout) -> dict[str, np.ndarray]:
    """What each of the n patches shows, as class indices (n,); IGNORE where it is not clear."""
    centers = np.arange(IMAGE_SIZE // 2) * 2 + 1.0
    side = SIDE
    owner = np.full(side * side, -1)
    unclear = np.zeros(side * side, dtype=bool)
    for index, item in enumerate(layout.objects):
        inside = (centers[None] - item.x) ** 2 + (centers[:, None] - item.y) ** 2 < item.radius**2
        share = inside.reshape(side, PATCH // 2, side, PATCH // 2).mean((1, 3)).ravel()
        owner[share >= 0.5] = index
        unclear |= (share > 0.1) & (share < 0.5)
    middle = (np.arange(side) + 0.5) * GRID / side
    cell = (middle.astype(int)[:, None] * GRID + middle.astype(int)[None]).ravel()
    targets = {
        "class": np.full(side * side, _INDEX["class"][NOTHING]),
        "color": np.full(side * side, IGNORE),
        "cell": cell,
        "background": np.full(side * side, _INDEX["background"][layout.background]),
        "pattern": np.full(side * side, _INDEX["pattern"][layout.pattern]),
        "same": np.full(side * side, IGNORE),
        "total": np.full(side * side, len(layout.objects)),
    }
    for index, item in enumerate(layout.objects):
        mine = owner == index
        targets["class"][mine] = _INDEX["class"][item.name]
        targets["color"][mine] = _INDEX["color"][item.color]
        targets["cell"][mine] = item.cell
        targets["same"][mine] = layout.counts[item.name]
    targets["class"][unclear & (owner < 0)] = IGNORE
    return targets


class VisionObjective(nn.Module):
    """The dense and image-level losses of stage 1, with the heads that are thrown away afterwards."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        super().__init__()
        words = vocabulary()
        table = model.model.language_model.embed_tokens.weight.detach()
        self.words = {g: table[[words.index(w) for w in group]].clone() for g, group in GROUPS.items()}
        width, hidden = table.shape[1], model.config.vision_config.hidden_size
        self.temperature = width**-0.5
        self.numbers = nn.ModuleDict({"same": nn.Linear(width, 10), "total": nn.Linear(width, 10)})
        self.image = nn.ModuleDict(
            {
                "present": nn.Linear(hidden, len(CLASSES)),
                "total": nn.Linear(hidden, 10),
                "background": nn.Linear(hidden, len(BACKGROUND_COLORS)),
                "pattern": nn.Linear(hidden, len(PATTERNS)),
            }
        )

    def forward(
        self, tokens: Tensor, cls: Tensor, targets: dict[str, Tensor], present: Tensor
    ) -> tuple[Tensor, dict]:
        """tokens (B, n, d) after the projector, cls (B, d_v), targets (B, n) each, present (B, classes)."""
        losses, accuracy = {}, {}
        for name, target in targets.items():
            words = self.words.get(name)
            logits = tokens @ words.T * self.temperature if words is not None else self.numbers[name](tokens)
            if name == "class":  # objects and background count the same, however few patches objects cover
                nothing = torch.where(target == len(CLASSES), target, IGNORE)
                target = torch.where(target == len(CLASSES), IGNORE, target)
                losses["nothing"] = F.cross_entropy(
                    logits.flatten(0, 1), nothing.flatten(), ignore_index=IGNORE
                )
            losses[name] = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORE)
            accuracy[name] = (logits.argmax(-1) == target)[target != IGNORE].float().mean().item()
        losses["cls present"] = 4 * F.binary_cross_entropy_with_logits(self.image["present"](cls), present)
        for name in ("total", "background", "pattern"):
            losses[f"cls {name}"] = 0.3 * F.cross_entropy(self.image[name](cls), targets[name][:, 0])
        losses["class"] = 2 * losses["class"]
        losses["pattern"] = (
            4 * losses["pattern"]
        )  # energy, not mean, tells patterns apart: the slowest to learn
        return sum(losses.values()), accuracy


def read(model: LlavaForConditionalGeneration, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the projector reads (B, n, d_v), its tokens (B, n, d), and [CLS] after the last layer (B, d_v)."""
    tower = model.model.vision_tower
    out = tower(images, output_hidden_states=True)
    features = out.hidden_states[model.config.vision_feature_layer][:, 1:]
    return features, model.model.multi_modal_projector(features), out.pooler_output


def batches(start: int, count: int, size: int) -> Iterator[tuple[Tensor, dict[str, Tensor], Tensor]]:
    """Batches ``start`` to ``count`` of fresh scenes, each a function of its number."""
    for step in range(start, count):
        drawn = [scenes.scene(step * size + i) for i in range(size)]
        rows = [patch_targets(s.layout) for s in drawn]
        targets = {k: torch.from_numpy(np.stack([r[k] for r in rows])).long() for k in rows[0]}
        present = torch.tensor([[float(s.layout.counts[c] > 0) for c in CLASSES] for s in drawn])
        yield pixels([s.image for s in drawn]), targets, present
