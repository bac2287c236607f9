"""Pictures for people: a labelled grid of drawn signs, and bytes for saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from latentwatch.lab.signs.drawing import BLOCK, IMAGE_SIZE, draw_signs
from latentwatch.lab.signs.templates import CLASS_NAMES

_COLUMNS = 10
_ZOOM = 3
_NAME_WIDTH = 190
_GAP = 4


def as_bytes(images: Tensor) -> npt.NDArray[np.uint8]:
    """Convert pictures, float [N, 3, H, W] in [0, 1], to uint8 [N, H, W, 3]."""
    pixels = (images * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def save_samples(file: Path, *, seed: int) -> None:
    """Save a grid of drawings, one class per row, with its name.

    Parameters
    ----------
    file
        Path to write; the suffix names the format.
    seed
        Seed of the drawings.
    """
    images, labels = draw_signs(BLOCK, seed=seed)
    pixels = as_bytes(images)
    cell = IMAGE_SIZE * _ZOOM + _GAP
    sheet = Image.new("RGB", (_NAME_WIDTH + _COLUMNS * cell, len(CLASS_NAMES) * cell), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for row, name in enumerate(CLASS_NAMES):
        pen.text((8, row * cell + cell // 2), name, fill="black", font=font, anchor="lm")
        for column, index in enumerate((labels == row).nonzero().flatten()[:_COLUMNS].tolist()):
            picture = Image.fromarray(pixels[index]).resize(
                (IMAGE_SIZE * _ZOOM,) * 2, Image.Resampling.NEAREST
            )
            sheet.paste(picture, (_NAME_WIDTH + column * cell, row * cell))
    sheet.save(file)
