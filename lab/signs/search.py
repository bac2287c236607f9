"""Gradient search within the ball of an attack, on the picture as rounded to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from latentwatch.chaos.traffic.filters import within_eps

_FIRST_STEP = 0.25  # of eps; the steps fall linearly to nearly nothing


class Judged(NamedTuple):
    """An attacker's judgement of a batch of pictures."""

    uphill: Tensor
    """float32 [B, 3, 32, 32], the direction to go away from, entries of the order of one."""

    cost: Tensor
    """float32 [B], what the search minimises."""


Judge = Callable[[Tensor], Judged]


def search(
    images: Tensor, judge: Judge, *, eps: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Return the pictures of least cost, each no pixel further than ``eps`` from its original.

    The search keeps unrounded changes, and judges the rounded picture: the gradient passes through
    the rounding as if it were not there.

    Parameters
    ----------
    images
        float32 [B, 3, 32, 32], multiples of 1/255 in [0, 1].
    judge
        Given pictures that require a gradient.
    eps
        Largest change of a pixel.
    steps
        Gradient steps from a random start.
    generator
        Draws the start.

    Returns
    -------
    Tensor
        float32 [B, 3, 32, 32], multiples of 1/255.
    """
    change = (torch.rand(images.shape, generator=generator) * 2 - 1) * eps
    best, least = images, torch.full((len(images),), torch.inf)
    for step in range(steps):
        pictures = within_eps(images + change, images, eps).requires_grad_()
        uphill, cost = judge(pictures)
        better = cost < least
        least = torch.where(better, cost, least)
        best = torch.where(better[:, None, None, None], pictures.detach(), best)
        rate = eps * _FIRST_STEP * (1 - step / steps)
        change = (change - rate * uphill).clamp(-eps, eps)
        change = (images + change).clamp(0, 1) - images
    return best


def gradient(of: Tensor, pictures: Tensor) -> Tensor:
    """Return the gradient of a number with respect to the pictures, [B, 3, 32, 32]."""
    return torch.autograd.grad(of, pictures, retain_graph=True)[0]
