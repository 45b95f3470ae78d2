"""From the layout of a dense scene to its pixels, in whole numbers so that every machine draws the same.

The grounds are textured and strewn with marks that mean nothing, so that no two background tokens are alike.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from compressor.world.dense.layout import (
    COLORS,
    IMAGE_SIZE,
    SIGN,
    SIGN_DIGITS,
    SIGN_LETTERS,
    DenseLayout,
    DenseObject,
)
from compressor.world.rendering import SPRITES

GLYPHS = SPRITES.parent / "signs" / "glyphs.png"  # one row of 5 x 7 bitmaps, white on black
GLYPH_WIDTH, GLYPH_HEIGHT, GLYPH_SCALE = 5, 7, 2
SIGN_PADDING = 4  # px around the characters, and 2 px between them
_LIGHT = ("orange", "yellow", "pink")  # signs of these colours are written on in black

# material -> colour, and layers of noise (columns, rows, amplitude, whether in blocks)
_MATERIALS: dict[str, tuple[tuple[int, int, int], tuple[tuple[int, int, int, bool], ...]]] = {
    "grass": ((112, 150, 84), ((168, 42, 40, False), (12, 12, 26, False))),
    "sand": ((218, 196, 150), ((336, 336, 26, True), (9, 9, 24, False))),
    "water": ((92, 150, 190), ((14, 70, 38, False), (6, 12, 30, False))),
    "stone": ((148, 148, 152), ((16, 24, 34, True), (168, 168, 24, False))),
    "snow": ((228, 234, 240), ((24, 24, 22, False), (112, 112, 12, False))),
    "wood": ((156, 116, 80), ((96, 6, 34, False), (10, 1, 34, True))),
}


def _noise(rng: np.random.Generator, columns: int, rows: int, amplitude: int, blocks: bool) -> np.ndarray:
    """(H, W) int16 random brightness within ``amplitude``, in blocks or smooth between the values drawn."""
    values = rng.integers(0, 256, size=(rows, columns), dtype=np.uint8)
    way = Image.Resampling.NEAREST if blocks else Image.Resampling.BICUBIC
    image = Image.fromarray(values).resize((IMAGE_SIZE, IMAGE_SIZE), way)
    return ((np.asarray(image).astype(np.int16) - 128) * amplitude) >> 7


def _material(name: str, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) int16 picture of one material."""
    color, layers = _MATERIALS[name]
    shade = sum(_noise(rng, *layer) for layer in layers)
    tint = np.array(color, dtype=np.int16) + rng.integers(-14, 15, size=3, dtype=np.int16)
    return tint + shade[..., None]


def _strew(image: Image.Image, rng: np.random.Generator) -> None:
    """Draws short strokes, rings and specks of muted colours at random places."""
    draw = ImageDraw.Draw(image)
    for row in rng.integers(0, 1 << 16, size=(int(rng.integers(60, 130)), 9)).tolist():
        x, y = row[0] % IMAGE_SIZE, row[1] % IMAGE_SIZE
        dx, dy = row[2] % 19 - 9, row[3] % 19 - 9
        kind, level = row[4] % 4, 40 + row[5] % 180
        color = tuple(level + value % 51 - 25 for value in row[6:])
        if kind < 2:
            draw.line((x, y, x + dx, y + dy), fill=color, width=1 + kind)
        elif kind == 2:
            draw.ellipse((x, y, x + 2 + abs(dx) // 2, y + 2 + abs(dy) // 2), outline=color)
        else:
            draw.rectangle((x, y, x + abs(dx) // 3, y + abs(dy) // 3), fill=color)


@lru_cache(maxsize=1024)
def _plate(shape: str, radius: int, rim: int) -> Image.Image:
    """The mask of a plate without ``rim`` px of its edge, smoothed by supersampling; all sides are equal."""
    reach = {"circle": 100, "square": 89, "diamond": 125}[shape] * radius // 100
    side, edge = 2 * reach, 4 * rim
    large = Image.new("L", (4 * side, 4 * side))
    draw, last, middle = ImageDraw.Draw(large), 4 * side - 1 - edge, 2 * side
    if shape == "circle":
        draw.ellipse((edge, edge, last, last), fill=255)
    elif shape == "square":
        draw.rectangle((edge, edge, last, last), fill=255)
    else:
        draw.polygon([(middle, edge), (last, middle), (middle, last), (edge, middle)], fill=255)
    return large.resize((side, side), Image.Resampling.BOX)


@lru_cache(maxsize=4096)
def _sprite(name: str, side: int) -> Image.Image:
    with Image.open(SPRITES / f"{name}.png") as sprite:
        return sprite.convert("RGBA").resize((side, side), Image.Resampling.LANCZOS)


@lru_cache(maxsize=1)
def _glyphs() -> dict[str, Image.Image]:
    """Each character as a mask of its size in the picture."""
    size = (GLYPH_WIDTH * GLYPH_SCALE, GLYPH_HEIGHT * GLYPH_SCALE)
    with Image.open(GLYPHS) as sheet:
        row = sheet.convert("L")
    return {
        letter: row.crop((i * GLYPH_WIDTH, 0, (i + 1) * GLYPH_WIDTH, GLYPH_HEIGHT)).resize(
            size, Image.Resampling.NEAREST
        )
        for i, letter in enumerate(SIGN_LETTERS + SIGN_DIGITS)
    }


def sign_size(text: str) -> tuple[int, int]:
    """Width and height of a sign in px."""
    width = len(text) * (GLYPH_WIDTH * GLYPH_SCALE + 2) - 2
    return width + 2 * SIGN_PADDING, GLYPH_HEIGHT * GLYPH_SCALE + 2 * SIGN_PADDING


def character_boxes(item: DenseObject) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of each character of a sign, in px."""
    width, height = sign_size(item.text)
    left, top = round(item.x - width / 2) + SIGN_PADDING, round(item.y - height / 2) + SIGN_PADDING
    wide, high = GLYPH_WIDTH * GLYPH_SCALE, GLYPH_HEIGHT * GLYPH_SCALE
    starts = [left + index * (wide + 2) for index in range(len(item.text))]
    return [(start, top, start + wide, top + high) for start in starts]


def _dark(color: str) -> tuple[int, ...]:
    return tuple(value * 5 // 9 for value in COLORS[color])


def _draw_sign(image: Image.Image, item: DenseObject) -> None:
    width, height = sign_size(item.text)
    left, top = round(item.x - width / 2), round(item.y - height / 2)
    draw = ImageDraw.Draw(image)
    box = (left, top, left + width - 1, top + height - 1)
    draw.rectangle(box, fill=COLORS[item.color], outline=_dark(item.color))
    ink = (16, 16, 16) if item.color in _LIGHT else (250, 250, 250)
    for letter, character in zip(item.text, character_boxes(item), strict=True):
        image.paste(ink, character[:2], _glyphs()[letter])


def _draw_emoji(image: Image.Image, item: DenseObject) -> None:
    radius = round(item.radius)
    outer, inner = _plate(item.shape, radius, 0), _plate(item.shape, radius, 1 if radius < 20 else 2)
    corner = (round(item.x - outer.width / 2), round(item.y - outer.height / 2))
    image.paste(_dark(item.color), corner, outer)
    image.paste(COLORS[item.color], corner, inner)
    side = {"circle": 138, "square": 144, "diamond": 130}[item.shape] * radius // 100
    sprite = _sprite(item.name, side)
    image.paste(sprite, (round(item.x - side / 2), round(item.y - side / 2)), sprite)


def render(layout: DenseLayout, rng: np.random.Generator) -> Image.Image:
    """Draws a scene as a 336 x 336 RGB image.

    Args:
        layout: what is in the scene; later objects cover earlier ones.
        rng: source of what the layout leaves open: the texture of the ground and the marks on it.
    """
    ground = layout.ground
    axis = np.arange(IMAGE_SIZE)
    beyond = ground.nx * axis[None, :] + ground.ny * axis[:, None] > ground.offset
    pixels = np.where(beyond[..., None], _material(ground.second, rng), _material(ground.first, rng))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    _strew(image, rng)
    for item in layout.objects:
        (_draw_sign if item.name == SIGN else _draw_emoji)(image, item)
    return image
