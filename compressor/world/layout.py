"""The vocabulary of the generated world and the layout of one scene, without any pixels."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

IMAGE_SIZE = 224  # px
GRID = 3  # cells per side; an object sits in a cell of its own

# singular -> plural; the keys name the sprites in assets/scenes/sprites
CLASSES: dict[str, str] = {
    "apple": "apples", "ball": "balls", "banana": "bananas", "bell": "bells", "bicycle": "bicycles",
    "boat": "boats", "burger": "burgers", "bus": "buses", "butterfly": "butterflies", "cactus": "cactuses",
    "cake": "cakes", "camera": "cameras", "car": "cars", "carrot": "carrots", "cat": "cats",
    "clock": "clocks", "crown": "crowns", "dog": "dogs", "donut": "donuts", "fish": "fishes", "fox": "foxes",
    "frog": "frogs", "gift": "gifts", "guitar": "guitars", "hat": "hats",
    "house": "houses", "key": "keys", "lion": "lions", "moon": "moons", "mushroom": "mushrooms",
    "octopus": "octopuses", "owl": "owls", "penguin": "penguins", "pig": "pigs", "pizza": "pizzas",
    "rocket": "rockets", "star": "stars", "tree": "trees", "turtle": "turtles", "umbrella": "umbrellas",
}  # fmt: skip
DISC_COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (247, 140, 30),
    "yellow": (250, 220, 60),
    "green": (60, 160, 70),
    "blue": (50, 100, 220),
    "purple": (130, 60, 180),
    "pink": (245, 150, 190),
    "brown": (125, 80, 45),
}
BACKGROUND_COLORS: dict[str, tuple[int, int, int]] = {
    "white": (240, 240, 240),
    "gray": (140, 140, 140),
    "black": (28, 28, 28),
    "navy": (25, 40, 95),
    "teal": (30, 125, 125),
    "cream": (240, 225, 180),
}
PATTERNS = ("plain", "gradient", "noisy", "striped")
CELLS = (
    "top-left", "top-middle", "top-right",
    "middle-left", "center", "middle-right",
    "bottom-left", "bottom-middle", "bottom-right",
)  # fmt: skip
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (0, -1), "right": (0, 1), "above": (-1, 0), "below": (1, 0)}
NOTHING = "nothing"


@dataclass(frozen=True)
class SceneObject:
    """An emoji on a coloured disc: class, disc colour, cell (0..8, row by row), centre and radius in px."""

    name: str
    color: str
    cell: int
    x: float
    y: float
    radius: float

    @property
    def place(self) -> str:
        return CELLS[self.cell]


@dataclass(frozen=True)
class Layout:
    """Everything that is true of one scene: 3 to 9 objects, a background colour and a background pattern."""

    objects: tuple[SceneObject, ...]
    background: str
    pattern: str

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(o.name for o in self.objects)

    @cached_property
    def by_cell(self) -> dict[int, SceneObject]:
        return {o.cell: o for o in self.objects}

    @cached_property
    def unique(self) -> dict[str, SceneObject]:
        """The objects whose class occurs once, by class: those a question can name."""
        return {o.name: o for o in self.objects if self.counts[o.name] == 1}


def neighbour_cell(cell: int, direction: str) -> int | None:
    """Index of the cell next to ``cell`` in ``direction``, or None outside the grid."""
    step_row, step_col = DIRECTIONS[direction]
    row, col = cell // GRID + step_row, cell % GRID + step_col
    return row * GRID + col if 0 <= row < GRID and 0 <= col < GRID else None


def draw_layout(rng: np.random.Generator, classes: tuple[str, ...] = tuple(CLASSES)) -> Layout:
    """Draws a random scene; one class is repeated one to four times so that counting means something.

    Args:
        rng: source of all randomness.
        classes: the classes to draw from.
    """
    total = int(rng.integers(3, 10))
    repeats = min(int(rng.choice([1, 2, 3, 4], p=[0.34, 0.22, 0.22, 0.22])), total)
    chosen = rng.choice(len(classes), size=total - repeats + 1, replace=False)
    names = [classes[chosen[0]]] * repeats + [classes[i] for i in chosen[1:]]
    cells = rng.choice(GRID * GRID, size=total, replace=False)
    side = IMAGE_SIZE / GRID
    objects = []
    for name, cell in zip(names, cells, strict=True):
        radius = float(rng.uniform(19.5, 23.0))
        slack = side / 2 - radius - 2
        x = side * (cell % GRID + 0.5) + rng.uniform(-slack, slack)
        y = side * (cell // GRID + 0.5) + rng.uniform(-slack, slack)
        color = list(DISC_COLORS)[rng.integers(len(DISC_COLORS))]
        objects.append(SceneObject(name, color, int(cell), float(x), float(y), radius))
    background = list(BACKGROUND_COLORS)[rng.integers(len(BACKGROUND_COLORS))]
    return Layout(tuple(objects), background, PATTERNS[rng.integers(len(PATTERNS))])
