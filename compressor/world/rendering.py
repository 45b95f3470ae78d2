"""From the layout of a scene to its pixels."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from compressor.assets import ASSETS
from compressor.world.layout import BACKGROUND_COLORS, DISC_COLORS, IMAGE_SIZE, Layout

SPRITES = ASSETS / "scenes" / "sprites"


@lru_cache(maxsize=4096)
def _object_picture(name: str, color: str, radius: int) -> Image.Image:
    """The sprite on its disc, an RGBA square of side 2 * radius, smoothed by supersampling."""
    side = 2 * radius
    disc = Image.new("L", (4 * side, 4 * side))
    ImageDraw.Draw(disc).ellipse((0, 0, 4 * side - 1, 4 * side - 1), fill=255)
    picture = Image.new("RGBA", (side, side), DISC_COLORS[color])
    picture.putalpha(disc.resize((side, side), Image.Resampling.LANCZOS))
    with Image.open(SPRITES / f"{name}.png") as sprite:
        inner = round(1.36 * radius)
        small = sprite.convert("RGBA").resize((inner, inner), Image.Resampling.LANCZOS)
    picture.alpha_composite(small, ((side - inner) // 2, (side - inner) // 2))
    return picture


def _background(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32 background: the colour, and the pattern as a change of brightness."""
    color = np.array(BACKGROUND_COLORS[layout.background], dtype=np.float32)
    shade = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)
    axis = np.arange(IMAGE_SIZE, dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    if layout.pattern == "gradient":
        span = along.max() - along.min()
        shade = 110 * ((along - along.min()) / span - 0.5)
    elif layout.pattern == "noisy":
        shade = rng.normal(0, 30, size=(IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)
    elif layout.pattern == "striped":
        period = rng.uniform(10, 18)
        shade = np.where(np.sin(2 * np.pi * along / period) > 0, 28.0, -28.0)
    return color + shade[..., None]


def render(layout: Layout, rng: np.random.Generator) -> Image.Image:
    """Draws a scene as a 224 x 224 RGB image.

    Args:
        layout: what is in the scene.
        rng: source of what the layout leaves open (direction of stripes, noise).
    """
    pixels = np.clip(_background(layout, rng), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    for item in layout.objects:
        picture = _object_picture(item.name, item.color, round(item.radius))
        image.paste(picture, (round(item.x - picture.width / 2), round(item.y - picture.height / 2)), picture)
    return image
