from pathlib import Path

import numpy as np
import torch
from PIL import Image

from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.pictures import as_bytes, save_samples
from latentwatch.lab.signs.templates import CLASS_NAMES


def test_bytes_are_the_8_bit_values_of_the_pictures() -> None:
    images, _ = draw_signs(3, seed=1)
    pixels = as_bytes(images)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 32, 32, 3)
    assert torch.equal(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, images)


def test_samples_show_a_row_for_every_class(tmp_path: Path) -> None:
    save_samples(tmp_path / "samples.png", seed=1)
    with Image.open(tmp_path / "samples.png") as sheet:
        pixels = np.asarray(sheet)
    rows = np.array_split(pixels, len(CLASS_NAMES))
    assert all((row[:, :190] < 128).any() for row in rows)  # a name
    assert all((row[:, 190:] < 250).mean() > 0.5 for row in rows)  # and pictures
