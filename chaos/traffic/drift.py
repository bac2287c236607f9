"""Ordinary wear of pictures: noise, blur, brightness, fog and rotation, at strengths 1 to 3."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from latentwatch.chaos.traffic.corruptions import STRENGTHS, corrupt
from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.filters import round_to_8_bits
from latentwatch.chaos.traffic.seeds import derived_seed

__all__ = ["DRIFTS", "wear"]

DEGREES = (5.0, 10.0, 20.0)
"""Most that a picture is turned, to either side."""

DRIFTS = (*(f"drift_{kind}" for kind in STRENGTHS), "drift_rotation")


def wear(values: Tensor, name: str, strength: float, *, seed: int) -> Tensor:
    """Return worn pictures.

    Parameters
    ----------
    values
        float32 [N, C, H, W] in [0, 1].
    name
        One of `DRIFTS`.
    strength
        1 (mild), 2 or 3 (strong).
    seed
        Of noise, fog and angles.

    Raises
    ------
    TrafficError
        These are no pictures, or there is no such strength.
    """
    if values.dim() != 4 or values.min() < 0 or values.max() > 1:
        raise TrafficError(
            f"{name} wears pictures [N, C, H, W] with values from 0 to 1; the inputs are "
            f"{list(values.shape)}, {values.min():g} to {values.max():g}"
        )
    if strength not in (1, 2, 3):
        raise TrafficError(f"{name} has the strengths 1, 2 and 3, not {strength:g}")
    kind = name.removeprefix("drift_")
    if kind == "rotation":
        return _rotated(values, DEGREES[int(strength) - 1], seed)
    return corrupt(values, kind, int(strength), seed=seed)


def _rotated(values: Tensor, most: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, "rotation"))
    angle = (torch.rand(len(values), generator=generator) * 2 - 1) * math.radians(most)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    turns = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(turns, list(values.shape), align_corners=False)
    turned = functional.grid_sample(
        values, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return round_to_8_bits(turned)
