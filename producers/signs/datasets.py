"""Activation files in the form that ``latentwatch evaluate`` and ``baseline fit`` read.

Arrays ``<set>.<layer>`` (float16 [n, d]) and ``<set>.predicted`` (int16 [n]).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor

from producers.signs.attack import AttackSettings, attack, recognised
from producers.signs.drawing import derived_seed, draw_signs
from producers.signs.filters import blur, round_to_8_bits
from producers.signs.network import Observed, SignNetwork, observe

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class SetSizes:
    """Rows of the sets that `evaluation_arrays` makes."""

    baseline: int = 4000
    clean: int = 4000
    shifted: int = 600
    """Rows of each attack and each drift."""


def validation_arrays(model: SignNetwork, *, seed: int, count: int) -> Arrays:
    """Return the set ``baseline``: activations of fresh drawings, through the production hook."""
    images, _ = draw_signs(count, seed=derived_seed(seed, "validation"))
    return _named("baseline", observe(model, images))


def evaluation_arrays(
    model: SignNetwork, settings: AttackSettings, sizes: SetSizes, *, seed: int, progress: Progress
) -> Arrays:
    """Return the sets baseline, clean, an attack named after its eps, and three kinds of drift.

    Drift is what ordinary wear brings: Gaussian noise of 0.05, brightness times 1.35, and a
    Gaussian blur of 0.8 pixels, on fresh drawings.
    """
    arrays = validation_arrays(model, seed=seed, count=sizes.baseline)
    clean, _ = draw_signs(sizes.clean, seed=derived_seed(seed, "clean"))
    arrays |= _named("clean", observe(model, clean))
    target = recognised(model, sizes.shifted, seed=derived_seed(seed, "attacked"))
    attacked = attack(model, target.images, target.labels, settings, seed=seed, progress=progress)
    arrays |= _named(attack_name(settings), observe(model, attacked.images))
    for name, images in _drifted(seed, sizes.shifted).items():
        arrays |= _named(name, observe(model, images))
    return arrays


def attack_name(settings: AttackSettings) -> str:
    """Return the name of an attack's set: ``pgd_eps03`` for an eps of 0.03."""
    return "pgd_eps" + f"{settings.eps:g}".removeprefix("0.")


def save_arrays(file: Path, arrays: Arrays) -> None:
    """Write arrays as an uncompressed npz file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:  # numpy would append a suffix to a bare name
        columns: dict[str, Any] = dict(arrays)
        np.savez(stream, **columns)


def _named(name: str, observed: Observed) -> Arrays:
    arrays: Arrays = {f"{name}.{layer}": rows for layer, rows in observed.activations.items()}
    return arrays | {f"{name}.predicted": observed.predicted.astype(np.int16)}


def _drifted(seed: int, count: int) -> dict[str, Tensor]:
    """Return drifted pictures, [count, 3, 32, 32] for each kind."""
    images, _ = draw_signs(count, seed=derived_seed(seed, "drift"))
    generator = torch.Generator().manual_seed(derived_seed(seed, "drift noise"))
    noise = torch.randn(images.shape, generator=generator)
    drifted = {
        "drift_noise": images + 0.05 * noise,
        "drift_brightness": images * 1.35,
        "drift_blur": blur(images, torch.full((count, 2), 0.8)),
    }
    return {name: round_to_8_bits(pictures) for name, pictures in drifted.items()}
