"""Image operations that drawings, attacks and drift share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_REACH = 2  # pixels of the blur to each side: enough for a sigma of up to 1


def round_to_8_bits(images: Tensor) -> Tensor:
    """Clip images to [0, 1] and round them to multiples of 1/255."""
    return (images.clamp(0, 1) * 255).round() / 255


def within_eps(changed: Tensor, images: Tensor, eps: float) -> Tensor:
    """Round to 8 bits without leaving the ball: 0.03 allows 7 steps of 1/255, not 8."""
    most = math.floor(eps * 255 + 1e-9)
    origin = (images * 255).round()
    change = (changed * 255).round() - origin
    return (origin + change.clamp(-most, most)).clamp(0, 255) / 255


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each picture with its own Gaussian.

    Parameters
    ----------
    images
        float32 [B, C, H, W].
    sigma
        float32 [B, 2], standard deviation across and down in pixels, above 0 and at most 1.
    """
    taps = torch.arange(-_REACH, _REACH + 1)
    kernels = torch.exp(-(taps**2) / (2 * sigma[..., None] ** 2))
    kernels = kernels / kernels.sum(dim=-1, keepdim=True)
    padded = functional.pad(images, (_REACH,) * 4, mode="replicate")
    return _convolved(_convolved(padded, kernels[:, 0], axis=3), kernels[:, 1], axis=2)


def _convolved(padded: Tensor, kernels: Tensor, *, axis: int) -> Tensor:
    """Convolve along one axis with a kernel [B, taps] per picture."""
    size = padded.shape[axis] - kernels.shape[1] + 1
    weights = kernels[..., None, None, None]
    result = padded.narrow(axis, 0, size) * weights[:, 0]
    for tap in range(1, kernels.shape[1]):
        result.addcmul_(padded.narrow(axis, tap, size), weights[:, tap])
    return result
