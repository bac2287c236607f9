"""Ordinary drift of pictures: noise, blur, brightness, fog and rotation, at strengths 1 to 3.

All but the rotation are kinds of Hendrycks and Dietterich (2019), at strengths that suit small
pictures of signs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.filters import blur, round_to_8_bits
from latentwatch.chaos.traffic.seeds import derived_seed

__all__ = ["DRIFTS", "STRENGTHS", "corrupt", "wear"]

STRENGTHS: Mapping[str, tuple[float, float, float]] = {
    "noise": (0.025, 0.05, 0.075),
    "blur": (0.6, 0.8, 1.0),
    "brightness": (1.15, 1.35, 1.6),
    "fog": (0.2, 0.35, 0.5),
}
"""Standard deviation of the noise; sigma of the blur in pixels; factor of all pixels; share of the
light that comes from the fog."""

_AIR = 0.75  # brightness of the fog
_KNOTS = (2, 4, 8)  # random knots each way, from wide banks of fog to wisps

DEGREES = (5.0, 10.0, 20.0)
"""Largest rotation of a picture, to either side."""

DRIFTS = (*(f"drift_{kind}" for kind in STRENGTHS), "drift_rotation")


def wear(values: Tensor, name: str, strength: float, *, seed: int) -> Tensor:
    """Return drifted pictures.

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
        The inputs are not pictures, or the strength is not 1, 2 or 3.
    """
    if values.dim() != 4 or values.min() < 0 or values.max() > 1:
        raise TrafficError(
            f"{name} needs pictures [N, C, H, W] with values from 0 to 1; the inputs are "
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


def corrupt(images: Tensor, kind: str, strength: int, *, seed: int) -> Tensor:
    """Return corrupted pictures, as a camera with 8 bits would deliver them.

    Parameters
    ----------
    images
        float32 [N, 3, 32, 32] in [0, 1].
    kind
        A key of `STRENGTHS`.
    strength
        1 (mild), 2 or 3 (strong).
    seed
        Seed of noise and fog.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, f"{kind} {strength}"))
    return round_to_8_bits(_KINDS[kind](images, STRENGTHS[kind][strength - 1], generator))


def _noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=generator)


def _blur(images: Tensor, sigma: float, _: torch.Generator) -> Tensor:
    return blur(images, torch.full((len(images), 2), sigma))


def _brightness(images: Tensor, factor: float, _: torch.Generator) -> Tensor:
    return images * factor


def _fog(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Blend with grey light, up to a third more or less as the density of the fog varies."""
    density = torch.zeros(len(images), 1, *images.shape[2:])
    for knots in _KNOTS:
        grid = torch.rand(len(images), 1, knots, knots, generator=generator) * 2 - 1
        density += functional.interpolate(
            grid, size=images.shape[2:], mode="bilinear", align_corners=True
        ) / len(_KNOTS)
    cover = share * (1 + density / 3)
    return images * (1 - cover) + _AIR * cover


_KINDS: Mapping[str, Callable[[Tensor, float, torch.Generator], Tensor]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "fog": _fog,
}
