"""Draws a data set of traffic signs as a camera on a car might see them, without a download.

Every picture takes a flat template (`latentwatch.lab.signs.templates`), turns and tilts it in
space, puts it before a random background, lights it, blurs it, adds sensor noise and rounds to
8 bits, as an image that reached a service as a file would be. All steps run on blocks of pictures.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from latentwatch.chaos.traffic.filters import blur, round_to_8_bits
from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.templates import CLASS_NAMES, draw_templates

__all__ = ["CLASS_NAMES", "DATA_VERSION", "IMAGE_SIZE", "draw_signs"]

DATA_VERSION = 1
"""Raised whenever the same seed draws other pictures; part of the key of cached networks."""

IMAGE_SIZE = 32
"""Side of a picture in pixels."""

BLOCK = 512
"""Pictures drawn at once. Each block has its own generator, so that any picture of a data set can
be drawn again without the blocks before it."""

_OVERSAMPLING = 2
"""Signs are sampled on a finer grid and averaged, against jagged edges."""


def draw_signs(count: int, *, seed: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """Draw a data set of traffic signs.

    The picture at an index depends on the seed and the index alone: a longer data set begins with
    the shorter one, and ``draw_signs(1, seed=s, first=i)`` is picture ``i`` of either.

    Parameters
    ----------
    count
        Number of pictures.
    seed
        Seed of the data set, not negative.
    first
        Index of the first picture to return.

    Returns
    -------
    images
        float32 [count, 3, 32, 32] in [0, 1], multiples of 1/255.
    labels
        int64 [count], indices into `CLASS_NAMES`. Any 512 pictures that start at a multiple of 512
        hold every class equally often.

    Raises
    ------
    ValueError
        If ``count`` or ``first`` is negative.
    """
    if count < 0 or first < 0:
        raise ValueError(f"count and first must not be negative, got {count} and {first}")
    images = torch.empty(count, 3, IMAGE_SIZE, IMAGE_SIZE)
    labels = torch.empty(count, dtype=torch.int64)
    for block in range(first // BLOCK, math.ceil((first + count) / BLOCK) if count else 0):
        begin, end = max(first, block * BLOCK), min(first + count, (block + 1) * BLOCK)
        taken = slice(begin - block * BLOCK, end - block * BLOCK)
        drawn, drawn_labels = _draw_block(derived_seed(seed, f"block {block}"))
        images[begin - first : end - first] = drawn[taken]
        labels[begin - first : end - first] = drawn_labels[taken]
    return images, labels


@cache
def _templates() -> Tensor:
    """Return the templates, float32 [classes, 4, side, side], at the sampling resolution."""
    return torch.from_numpy(draw_templates(IMAGE_SIZE * _OVERSAMPLING))


def _draw_block(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(BLOCK, generator=generator) % len(CLASS_NAMES)
    sign = _seen_from_the_road(_templates()[labels], generator)
    colour, alpha = sign[:, :3], sign[:, 3:]
    scene = _light_on_the_sign(colour, generator) + (1 - alpha) * _background(generator)
    scene = blur(_exposed(scene, generator), _uniform(0.2, 0.9, generator, 2))
    return round_to_8_bits(_noisy(scene, generator)), labels


def _uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    """Return uniform numbers of shape [BLOCK, *shape]."""
    return torch.rand(BLOCK, *shape, generator=generator) * (high - low) + low


def _seen_from_the_road(signs: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, tilt, scale and shift each sign: RGBA [B, 4, 64, 64] to [B, 4, 32, 32]."""
    side = IMAGE_SIZE * _OVERSAMPLING
    axis = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    ones = torch.ones_like(x)
    target = torch.stack([x, y, ones], dim=-1).reshape(1, -1, 3)
    source = target @ _homographies(generator).transpose(1, 2)
    grid = (source[..., :2] / source[..., 2:]).reshape(BLOCK, side, side, 2)
    seen = functional.grid_sample(signs, grid, padding_mode="zeros", align_corners=False)
    return functional.avg_pool2d(seen, _OVERSAMPLING)


def _homographies(generator: torch.Generator) -> Tensor:
    """Return maps from the picture to the template plane, float32 [B, 3, 3], both in [-1, 1]."""
    angle = _uniform(-0.21, 0.21, generator)  # 12 degrees
    stretch = torch.exp(_uniform(-0.06, 0.06, generator))
    scale = _uniform(1.05, 1.6, generator)  # the sign fills 62 to 95 % of the picture
    shear = _uniform(-0.12, 0.12, generator)
    shift = _uniform(-0.14, 0.14, generator, 2)
    tilt = _uniform(-0.22, 0.22, generator, 2)
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    row_x = torch.stack([c * stretch, -s + shear, shift[:, 0]], dim=-1)
    row_y = torch.stack([s, c / stretch, shift[:, 1]], dim=-1)
    row_w = torch.cat([tilt, torch.ones(BLOCK, 1)], dim=-1)
    return torch.stack([row_x, row_y, row_w], dim=1)


def _texture(cells: int, channels: int, generator: torch.Generator) -> Tensor:
    """Return smooth noise of some random knots each way, [B, channels, 32, 32] in [0, 1]."""
    knots = torch.rand(BLOCK, channels, cells, cells, generator=generator)
    return functional.interpolate(
        knots, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=True
    )


def _background(generator: torch.Generator) -> Tensor:
    """Return the background of the sign: sky over ground, walls and leaves, [B, 3, 32, 32]."""
    tone = _uniform(0.1, 0.9, generator, 1, 1, 1)
    blue = torch.tensor([-0.15, 0.0, 0.25]).reshape(3, 1, 1)
    sky = tone + blue * _uniform(0, 1, generator, 1, 1, 1)
    top = (sky + _uniform(-0.08, 0.08, generator, 3, 1, 1)).clamp(0, 1)
    bottom = tone * 0.4 + _uniform(0.1, 0.5, generator, 1, 1, 1)
    bottom = bottom + _uniform(-0.12, 0.12, generator, 3, 1, 1)
    height = torch.linspace(0, 1, IMAGE_SIZE).reshape(1, 1, -1, 1)
    horizon = _uniform(0.1, 0.9, generator, 1, 1, 1)
    sharpness = _uniform(3, 30, generator, 1, 1, 1)
    ground = torch.sigmoid((height - horizon) * sharpness)
    scenery = top * (1 - ground) + bottom * ground
    leaves = _texture(16, 1, generator) * _leaf_colour(generator)
    leafy = (_texture(4, 1, generator) - _uniform(0.3, 1.0, generator, 1, 1, 1)).mul(8).clamp(0, 1)
    scenery = scenery * (1 - leafy) + leaves * leafy
    walls = (_texture(8, 1, generator) - 0.5) * _uniform(0, 0.6, generator, 1, 1, 1)
    tint = (_texture(3, 3, generator) - 0.5) * 0.18
    return (scenery + walls + tint).clamp(0, 1)


def _leaf_colour(generator: torch.Generator) -> Tensor:
    """Return a green to brown colour per picture, [B, 3, 1, 1]."""
    low, high = torch.tensor([0.15, 0.35, 0.05]), torch.tensor([0.75, 1.0, 0.5])
    return (_uniform(0, 1, generator, 3) * (high - low) + low).reshape(BLOCK, 3, 1, 1)


def _light_on_the_sign(colour: Tensor, generator: torch.Generator) -> Tensor:
    """Shade each sign with its own gradient, and bleach or dirty its colours."""
    axis = torch.linspace(-1, 1, IMAGE_SIZE)
    direction = _uniform(-math.pi, math.pi, generator, 1, 1, 1)
    slope = torch.cos(direction) * axis + torch.sin(direction) * axis[:, None]
    depth = _uniform(0, 0.35, generator, 1, 1, 1)
    grey = colour.mean(dim=1, keepdim=True)
    bleach = _uniform(0, 0.5, generator, 1, 1, 1)
    dirt = 1 - _texture(6, 1, generator) * _uniform(0, 0.35, generator, 1, 1, 1)
    return (colour * (1 - bleach) + grey * bleach) * (1 + depth * slope) * dirt


def _exposed(scene: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast, brightness and colour cast of the whole picture.

    The contrast is that of haze and dusk: in full sun, changes of 0.03 in a pixel are too faint
    beside the sign to fool the network, as they would not be with photographs.
    """
    contrast = _uniform(0.3, 0.9, generator, 1, 1, 1)
    brightness = _uniform(0.55, 1.15, generator, 1, 1, 1)
    cast = _uniform(0.88, 1.12, generator, 3, 1, 1)
    mean = scene.mean(dim=(1, 2, 3), keepdim=True)
    return (((scene - mean) * contrast + mean) * brightness * cast).clamp(0, 1)


def _noisy(scene: Tensor, generator: torch.Generator) -> Tensor:
    """Add sensor noise, with a strength per picture."""
    noise = torch.randn(scene.shape, generator=generator)
    return scene + noise * _uniform(0.002, 0.02, generator, 1, 1, 1)
