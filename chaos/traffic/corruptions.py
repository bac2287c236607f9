"""Ordinary corruptions of benign pictures: noise, blur, brightness and fog, each at strengths 1-3.

They are kinds of Hendrycks and Dietterich (2019), at strengths that suit small pictures of signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from latentwatch.chaos.traffic.filters import blur, round_to_8_bits
from latentwatch.chaos.traffic.seeds import derived_seed

STRENGTHS: Mapping[str, tuple[float, float, float]] = {
    "noise": (0.025, 0.05, 0.075),
    "blur": (0.6, 0.8, 1.0),
    "brightness": (1.15, 1.35, 1.6),
    "fog": (0.2, 0.35, 0.5),
}
"""Standard deviation of the noise; that of the blur in pixels; factor of all pixels; share of the
light that comes from the fog."""

_AIR = 0.75  # brightness of the fog
_KNOTS = (2, 4, 8)  # random knots each way, from wide banks of fog to wisps


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
    """Blend with grey light, by a third more or less where the fog is dense or thin."""
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
