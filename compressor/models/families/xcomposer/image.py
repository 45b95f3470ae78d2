"""What InternLM-XComposer-2.5 does with a picture before its encoder, and with the patches after it."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from compressor.geometry import xcomposer_canvas

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP
STD = (0.26862954, 0.26130258, 0.27577711)


def canvas(image: Image.Image, hd_num: int, image_size: int = 560) -> Image.Image:
    """The picture scaled and padded with white to whole tiles, as `geometry.xcomposer_canvas` says.

    A portrait is resized as its mirror image at the main diagonal, so that it equals the published pixels.
    """
    scaled, (rows, columns) = xcomposer_canvas(image.size, hd_num, image_size=image_size)
    image = image.convert("RGB")
    if image.width < image.height:
        resized = image.transpose(Image.Transpose.TRANSPOSE).resize(scaled[::-1], Image.Resampling.BILINEAR)
        resized = resized.transpose(Image.Transpose.TRANSPOSE)
    else:
        resized = image.resize(scaled, Image.Resampling.BILINEAR)
    padded = Image.new("RGB", (columns * image_size, rows * image_size), "white")
    padded.paste(resized)
    return padded


def views(image: Image.Image, hd_num: int, image_size: int = 560) -> tuple[Tensor, tuple[int, int]]:
    """What the vision encoder is shown of a picture.

    Args:
        image: in any mode and size.
        hd_num: tiles at most.
        image_size: edge of a view in pixels.
    Returns:
        (1 + rows * columns, 3, image_size, image_size), the whole canvas first; (rows, columns) of tiles.
    """
    pixels = torch.from_numpy(np.array(canvas(image, hd_num, image_size))).permute(2, 0, 1) / 255
    pixels = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    whole = functional.interpolate(pixels[None], size=(image_size, image_size), mode="bicubic")
    tiles = pixels.unflatten(2, (-1, image_size)).unflatten(1, (-1, image_size))  # (3, rows, s, columns, s)
    rows, columns = tiles.shape[1], tiles.shape[3]
    return torch.cat([whole, tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)]), (rows, columns)


def merge_patches(patches: Tensor) -> Tensor:
    """Blocks of 2 x 2 patches end to end, row by row: (views, 2s, 2s, d_v) -> (views, s, s, 4 d_v)."""
    blocks = patches.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (views, s, 2, s, 2, d_v)
    return blocks.transpose(2, 3).flatten(3)


def arrange(merged: Tensor, tiles: tuple[int, int], row_end: Tensor, part_end: Tensor) -> Tensor:
    """The tokens in the order of `geometry.xcomposer_layout`.

    Args:
        merged: of the whole view and the tiles, (1 + rows * columns, s, s, c).
        tiles: (rows, columns).
        row_end: the separator after a row, c numbers.
        part_end: the separator between whole view and tiles, c numbers.
    Returns:
        (n, c).
    """
    grid = merged[1:].unflatten(0, tiles)  # (rows, columns, s, s, c)
    grid = grid.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # (rows * s, columns * s, c)
    ends = row_end.view(1, 1, -1)
    whole, local = (
        torch.cat([part, ends.expand(len(part), -1, -1)], dim=1).flatten(0, 1) for part in (merged[0], grid)
    )
    return torch.cat([whole, part_end.view(1, -1), local])


def per_block(extras: dict[str, Tensor]) -> dict[str, Tensor]:
    """The optional fields of `ImageTokens` for a view's blocks of 2 x 2 patches, from those for its patches.

    A block has the mean of its patches' queries and keys, and all the attention they get. The projector reads
    [CLS] as a block of four. The rule is ours, as no method with such needs was published for this model.
    """
    found = dict(extras)
    for name in {"keys", "last_queries", "last_keys"} & set(extras):
        found[name] = _block_means(extras[name])
    if "cls_attention" in extras:
        attention = _block_means(extras["cls_attention"].T)
        found["cls_attention"] = torch.cat([attention[:1], 4 * attention[1:]]).T
        found["cls_feature"] = extras["cls_feature"].repeat(4)
    return found


def _block_means(values: Tensor) -> Tensor:
    """Means of the patches of each block, [CLS] staying the first: (k + 1, ...) -> (k / 4 + 1, ...)."""
    half = math.isqrt(len(values) - 1) // 2
    blocks = values[1:].unflatten(0, (half, 2, half, 2)).mean((1, 3)).flatten(0, 1)
    return torch.cat([values[:1], blocks])
