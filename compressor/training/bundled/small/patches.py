"""What every patch of a dense scene shows: the dense labels of the vision stage, the same question to all.

No label says what the whole picture holds. Those that only an object can have (its colour, its place, how
many of its class there are) are left open on the ground, and the ground's material on objects.
"""

import numpy as np

from compressor.training.bundled.model import PATCH
from compressor.world.dense.layout import (
    COLORS,
    COLUMNS,
    GROUNDS,
    IMAGE_SIZE,
    NAMES,
    ROWS,
    SHAPES,
    SIGN_DIGITS,
    SIGN_LETTERS,
    SIZES,
    DenseLayout,
    DenseObject,
)
from compressor.world.dense.rendering import character_boxes, sign_size

SIDE = IMAGE_SIZE // PATCH
STEP = 2  # px between the points at which a picture is looked at
IGNORE = -100
NO_LETTER = "."  # the word for the third character of a sign that has two
# group -> its words, in the vocabulary of the model
GROUPS: dict[str, tuple[str, ...]] = {
    "class": (*NAMES, "nothing"),
    "color": tuple(COLORS),
    "shape": tuple(SHAPES),
    "size": tuple(SIZES),
    "row": ROWS,
    "column": tuple(f"##-{column}" for column in COLUMNS),
    "first": tuple(SIGN_LETTERS),
    "digit": tuple(f"##{digit}" for digit in SIGN_DIGITS),
    "last": (*(f"##{letter}" for letter in SIGN_LETTERS), NO_LETTER),
    "ground": GROUNDS,
}
NUMBERS = ("same class", "same color")  # how many objects share it with the patch's object
MOST_ALIKE = 6
CHARACTERS = SIGN_LETTERS + SIGN_DIGITS
_INDEX = {group: {word: i for i, word in enumerate(words)} for group, words in GROUPS.items()}
NOTHING = _INDEX["class"]["nothing"]


def _covers(item: DenseObject, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Which points lie on an object: xs (w,), ys (h,) -> (h, w)."""
    dx, dy = np.abs(xs - item.x)[None], np.abs(ys - item.y)[:, None]
    if item.text:
        width, height = sign_size(item.text)
        return (dx < width / 2) & (dy < height / 2)
    if item.shape == "circle":
        return dx**2 + dy**2 < item.radius**2
    if item.shape == "square":
        return np.maximum(dx, dy) < 0.89 * item.radius
    return dx + dy < 1.25 * item.radius


def owners(layout: DenseLayout) -> np.ndarray:
    """The index of the object that each patch shows, (n,): -1 for the ground, -2 where it is not clear."""
    points = np.arange(STEP / 2, IMAGE_SIZE, STEP)
    top = np.full((len(points), len(points)), -1)
    for index, item in enumerate(layout.objects):
        reach = 1.3 * item.radius
        rows, columns = (
            slice(max(0, int((at - reach) // STEP)), int((at + reach) // STEP) + 1) for at in (item.y, item.x)
        )
        top[rows, columns][_covers(item, points[columns], points[rows])] = index
    per = PATCH // STEP
    by_patch = top.reshape(SIDE, per, SIDE, per).transpose(0, 2, 1, 3).reshape(SIDE * SIDE, per * per)
    width = len(layout.objects) + 1
    cells = by_patch + 1 + width * np.arange(SIDE * SIDE)[:, None]
    shares = np.bincount(cells.ravel(), minlength=width * SIDE * SIDE).reshape(-1, width)[:, 1:] / per**2
    best, share = shares.argmax(1), shares.max(1)
    return np.where(share >= 0.25, best, np.where(shares.sum(1) < 0.08, -1, -2))


def _ground(layout: DenseLayout) -> np.ndarray:
    """The material under the middle of each patch, (n,)."""
    ground, middle = layout.ground, (np.arange(SIDE) + 0.5) * PATCH
    beyond = ground.nx * middle[None] + ground.ny * middle[:, None] > ground.offset
    first, second = _INDEX["ground"][ground.first], _INDEX["ground"][ground.second]
    return np.where(beyond, second, first).ravel()


def _characters(item: DenseObject) -> np.ndarray:
    """The character of a sign that lies on each patch with a quarter of itself or more, (n,), or IGNORE."""
    edges = np.arange(SIDE) * PATCH
    shown = np.full(SIDE * SIDE, IGNORE)
    for letter, (left, top, right, bottom) in zip(item.text, character_boxes(item), strict=True):
        across = np.clip(np.minimum(right, edges + PATCH) - np.maximum(left, edges), 0, None)
        down = np.clip(np.minimum(bottom, edges + PATCH) - np.maximum(top, edges), 0, None)
        share = np.outer(down, across).ravel() / ((right - left) * (bottom - top))
        shown[share >= 0.25] = CHARACTERS.index(letter)
    return shown


def patch_targets(layout: DenseLayout, crowd: bool = False) -> dict[str, np.ndarray]:
    """What each of the n patches shows.

    Args:
        layout: the scene.
        crowd: whether it is a crowded picture, in which nothing is counted.
    Returns:
        Class indices (n,) by group, counts (n,) by ``NUMBERS`` and "character" (n,), what is written on the
        patch itself; IGNORE where they are open. And "at" (n, 2) float32: x and y in [-1, 1] of the middle of
        the patch's object, or of the patch itself.
    """
    owner = owners(layout)
    targets = {group: np.full(SIDE * SIDE, IGNORE) for group in (*GROUPS, *NUMBERS, "character")}
    targets["class"][owner == -1] = NOTHING
    targets["ground"] = np.where(owner == -1, _ground(layout), IGNORE)
    middle = (np.arange(SIDE) + 0.5) * PATCH
    at = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
    for index, item in enumerate(layout.objects):
        mine = owner == index
        words = {
            "class": item.name,
            "color": item.color,
            "row": ROWS[item.row],
            "column": f"##-{COLUMNS[item.column]}",
        }
        if item.text:
            letters = [f"##{letter}" for letter in item.text[1:]] + [NO_LETTER]
            words |= {"first": item.text[0], "digit": letters[0], "last": letters[1]}
            written = _characters(item)
            targets["character"] = np.where(written != IGNORE, written, targets["character"])
        else:
            words |= {"shape": item.shape, "size": item.size}
        for group, word in words.items():
            targets[group][mine] = _INDEX[group][word]
        if not crowd:
            targets["same class"][mine] = min(layout.counts[item.name], MOST_ALIKE)
            targets["same color"][mine] = min(layout.color_counts[item.color], MOST_ALIKE)
        at[mine] = item.x, item.y
    targets["at"] = (at / (IMAGE_SIZE / 2) - 1).astype(np.float32)
    return targets
