"""The vocabulary of the second edition and the layout of one scene, without any pixels.

A picture has 24 x 24 tokens of 14 px. Objects lie at free places and cover few patches; a place is named by
the thirds of the picture that the object's centre lies in, and several objects may share a third.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

from compressor.world.layout import CLASSES, DISC_COLORS

IMAGE_SIZE = 336  # px
THIRD = IMAGE_SIZE // 3
SIGN = "sign"
NAMES: dict[str, str] = {**CLASSES, SIGN: "signs"}  # singular -> plural
COLORS = DISC_COLORS
SHAPES: dict[str, str] = {"circle": "circles", "square": "squares", "diamond": "diamonds"}
# px, radius of a circle of the same area; they cover about 1.6 to 2, 3.4 to 4.9 and 8.5 to 12.6 patches
SIZES: dict[str, tuple[float, float]] = {"small": (10.0, 11.3), "medium": (14.5, 17.5), "large": (23.0, 28.0)}
SIZE_SHARES = (0.27, 0.5, 0.23)
GROUNDS = ("grass", "sand", "water", "stone", "snow", "wood")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
PLACES = tuple(f"{row}-{column}" for row, column in product(ROWS, COLUMNS))
SIDES = ("left", "right", "top", "bottom")
DIRECTIONS: dict[str, tuple[int, int]] = {  # step in x and y, in px
    "left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1),
}  # fmt: skip
SIGN_LETTERS, SIGN_DIGITS = "CEHKLMPTUXYZ", "23456789"
FEWEST, MOST = 6, 14  # objects
TOUCHING = 0.12  # chance of an object that is not small to lie over the edge of another
BORDER_GAP = (
    6  # px from a centre to the border between two thirds, so that a place is never a matter of taste
)
DISTINCT = 30  # px by which one object is left of, right of, above or below another
NEARER = 0.75  # the nearest object is at most this times as far as the next


@dataclass(frozen=True)
class DenseObject:
    """An emoji on a coloured plate, or a sign.

    Args:
        name: class, a key of ``NAMES``.
        color: of the plate.
        shape: of the plate; empty for a sign.
        size: a key of ``SIZES``; empty for a sign.
        x: of the centre in px.
        y: of the centre in px.
        radius: px; of the circle of the plate's area, or half the width of a sign.
        text: what a sign says; empty for others.
    """

    name: str
    color: str
    shape: str
    size: str
    x: float
    y: float
    radius: float
    text: str = ""

    @property
    def row(self) -> int:
        return int(self.y // THIRD)

    @property
    def column(self) -> int:
        return int(self.x // THIRD)

    @property
    def place(self) -> str:
        return PLACES[3 * self.row + self.column]

    def on_side(self, side: str) -> bool:
        """Whether the centre lies in the outer third that is called left, right, top or bottom."""
        return side == COLUMNS[self.column] or side == ROWS[self.row]

    def distance(self, other: "DenseObject") -> float:
        return math.hypot(self.x - other.x, self.y - other.y)


@dataclass(frozen=True)
class Ground:
    """Two materials with a straight border: ``second`` where nx * x + ny * y > offset, in px."""

    first: str
    second: str
    nx: float
    ny: float
    offset: float

    def at(self, place: str) -> str | None:
        """The material of a third; None where both show."""
        row, column = divmod(PLACES.index(place), 3)
        inset = THIRD * 0.1
        xs = (THIRD * column + inset, THIRD * (column + 1) - inset)
        ys = (THIRD * row + inset, THIRD * (row + 1) - inset)
        beyond = {self.nx * x + self.ny * y > self.offset for x, y in product(xs, ys)}
        return None if len(beyond) == 2 else self.second if beyond.pop() else self.first


@dataclass(frozen=True)
class DenseLayout:
    """Everything that is true of one scene; later objects lie above earlier ones."""

    objects: tuple[DenseObject, ...]
    ground: Ground

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(o.name for o in self.objects)

    @cached_property
    def color_counts(self) -> Counter[str]:
        return Counter(o.color for o in self.objects)

    @cached_property
    def unique(self) -> dict[str, DenseObject]:
        """The objects whose class occurs once, by class: those a question can name."""
        return {o.name: o for o in self.objects if self.counts[o.name] == 1}

    @cached_property
    def by_place(self) -> dict[str, tuple[DenseObject, ...]]:
        """The objects of each third that has any, from left to right."""
        found = defaultdict(list)
        for item in sorted(self.objects, key=lambda o: o.x):
            found[item.place].append(item)
        return {place: tuple(found[place]) for place in PLACES if place in found}

    def on_side(self, side: str) -> tuple[DenseObject, ...]:
        """The objects of an outer third, along it."""
        along = (lambda o: o.y) if side in ("left", "right") else (lambda o: o.x)
        return tuple(sorted((o for o in self.objects if o.on_side(side)), key=along))

    def nearest(self, item: DenseObject) -> DenseObject | None:
        """The other object that is clearly the nearest, centre to centre; None where there is no such one."""
        others = sorted((o for o in self.objects if o is not item), key=item.distance)
        clear = item.distance(others[0]) <= NEARER * item.distance(others[1])
        return others[0] if clear else None

    def same_color(self, item: DenseObject) -> tuple[DenseObject, ...]:
        """The other objects of this object's colour."""
        return tuple(o for o in self.objects if o.color == item.color and o is not item)


def _draw_sign(rng: np.random.Generator) -> str:
    text = SIGN_LETTERS[rng.integers(len(SIGN_LETTERS))] + SIGN_DIGITS[rng.integers(len(SIGN_DIGITS))]
    return text + SIGN_LETTERS[rng.integers(len(SIGN_LETTERS))] if rng.random() < 0.6 else text


def _inside(x: float, y: float, margin: float) -> bool:
    """Whether a centre is so far from the edges, and clear of the borders between thirds."""
    return all(
        margin <= value <= IMAGE_SIZE - margin
        and all(abs(value - line) >= BORDER_GAP for line in (THIRD, 2 * THIRD))
        for value in (x, y)
    )


def _draw_place(rng: np.random.Generator, margin: float) -> tuple[float, float]:
    while True:
        x, y = rng.uniform(margin, IMAGE_SIZE - margin, size=2)
        if _inside(x, y, margin):
            return float(x), float(y)


def _fits(item: DenseObject, others: list[DenseObject], covering: float) -> bool:
    """Whether the place is free, or hides a little of one object that is not small."""
    touched = 0
    for other in others:
        reach = item.distance(other) / (item.radius + other.radius)
        if reach < 1.12:
            touched += 1
            if reach < covering or other.size in ("small", "") or item.size in ("small", ""):
                return False
    return touched <= 1


def _draw_touching(
    rng: np.random.Generator, radius: float, placed: list[DenseObject]
) -> tuple[float, float] | None:
    """A place that hides a little of an object that is not small; None where that leaves the picture."""
    others = [item for item in placed if item.size not in ("small", "")]
    if not others:
        return None
    other = others[rng.integers(len(others))]
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 0.92) * (radius + other.radius)
    x, y = other.x + reach * math.cos(angle), other.y + reach * math.sin(angle)
    return (x, y) if _inside(x, y, radius * 1.3 + 2) else None


def place_objects(
    drafts: list[DenseObject], rng: np.random.Generator, touching: float = 0.0
) -> tuple[DenseObject, ...]:
    """Draws free places for objects; those for which there is none are left out.

    Args:
        drafts: objects whose places do not matter; large ones are placed first.
        rng: source of all randomness.
        touching: the chance that one that is not small looks for a place over the edge of another.
    """
    placed: list[DenseObject] = []
    for draft in sorted(drafts, key=lambda o: -o.radius):
        covering = 0.8 if rng.random() < 0.25 else 1.12
        edge = bool(touching) and draft.size not in ("small", "") and rng.random() < touching
        for attempt in range(30):
            place = _draw_touching(rng, draft.radius, placed) if edge and attempt < 10 else None
            x, y = place or _draw_place(rng, draft.radius * 1.3 + 2)
            item = replace(draft, x=x, y=y)
            if _fits(item, placed, 0.8 if place else covering):
                placed.append(item)
                break
    return tuple(placed)


def draw_object(name: str, rng: np.random.Generator, shares: tuple[float, ...] = SIZE_SHARES) -> DenseObject:
    """An object of this class with random attributes and no place yet."""
    color = list(COLORS)[rng.integers(len(COLORS))]
    if name == SIGN:
        text = _draw_sign(rng)
        return DenseObject(name, color, "", "", 0.0, 0.0, 21.0 if len(text) == 3 else 15.0, text)
    shape = list(SHAPES)[rng.integers(len(SHAPES))]
    size = list(SIZES)[rng.choice(len(SIZES), p=shares)]
    return DenseObject(name, color, shape, size, 0.0, 0.0, float(rng.uniform(*SIZES[size])))


def draw_ground(rng: np.random.Generator) -> Ground:
    """Two different materials and a border that passes near the middle."""
    first, second = rng.choice(len(GROUNDS), size=2, replace=False)
    steps = rng.integers(-8, 9, size=2)
    nx, ny = (float(v) for v in (steps if steps.any() else (1, 0)))
    x, y = rng.uniform(0.3 * IMAGE_SIZE, 0.7 * IMAGE_SIZE, size=2)
    return Ground(GROUNDS[first], GROUNDS[second], nx, ny, float(nx * x + ny * y))


def draw_layout(rng: np.random.Generator) -> DenseLayout:
    """Draws a random scene; one class is repeated one to four times, and up to two objects are signs."""
    total = int(rng.integers(FEWEST, MOST + 1))
    signs = int(rng.choice(3, p=(0.35, 0.5, 0.15)))
    repeats = int(rng.integers(1, 5))
    chosen = rng.choice(len(CLASSES), size=total - signs - repeats + 1, replace=False)
    names = [tuple(CLASSES)[i] for i in chosen]
    names += [names[0]] * (repeats - 1) + [SIGN] * signs
    return DenseLayout(
        place_objects([draw_object(name, rng) for name in names], rng, TOUCHING), draw_ground(rng)
    )


def draw_crowd(rng: np.random.Generator, count: int = 60, signs: float = 0.0) -> DenseLayout:
    """Draws a picture crowded with objects, to learn many of them from one picture.

    Args:
        rng: source of all randomness.
        count: objects at most; some find no place.
        signs: the share of signs beyond that of any other class.
    """
    names, drafts = tuple(NAMES), []
    for _ in range(count):
        sign = bool(signs) and rng.random() < signs
        drafts.append(draw_object(SIGN if sign else names[rng.integers(len(names))], rng))
    return DenseLayout(place_objects(drafts, rng), draw_ground(rng))
