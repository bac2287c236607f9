"""The queries of somebody who copies a classifier: inputs made from a few seeds, round by round.

Jacobian-based augmentation (Papernot et al. 2017): each round asks about every earlier input, moved
by a step into the direction that changes the answer most. He knows no weights and would take the
direction from his copy; here it is the classifier's own, which a good copy shares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentwatch.chaos.traffic.target import BATCH, Inputs, Target

__all__ = ["EXTRACTION", "STEP", "query_stream", "seeds_of"]

EXTRACTION = "extraction"

STEP = 0.1
"""Of each value, in a round; pixels reach from 0 to 1."""

QUERIES_PER_SEED = 16
"""Four rounds, each of which doubles the inputs."""


def query_stream(target: Target, seeds: Inputs, count: int, step: float) -> Inputs:
    """Queries in the order in which they are asked, the seeds first.

    Parameters
    ----------
    seeds
        Inputs that he begins with, and what they show.
    count
        Queries in all.
    step
        How far a value moves in a round.
    """
    values, labels = seeds
    low, high = values.min(), values.max()
    while len(values) < count:
        moved = [
            (batch + step * _towards(target, batch).sign()).clamp(low, high)
            for batch in torch.split(values, BATCH)
        ]
        values, labels = torch.cat([values, *moved]), torch.cat([labels, labels])
    return Inputs(values[:count], labels[:count])


def seeds_of(count: int) -> int:
    """Seeds for so many queries."""
    return -(-count // QUERIES_PER_SEED)


def _towards(target: Target, values: Tensor) -> Tensor:
    """Gradient of the highest output in the inputs."""
    moving = values.clone().requires_grad_()
    with torch.enable_grad():
        highest = target.model(moving).amax(dim=1).sum()
    (gradient,) = torch.autograd.grad(highest, moving)
    return gradient
