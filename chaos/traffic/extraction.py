"""The queries of a client that copies a classifier: inputs made from a few seeds, round by round.

Jacobian-based augmentation (Papernot et al. 2017): each round queries every earlier input, moved by
a step in the direction that changes the output most. A real copier does not know the weights and
uses the gradient of the copy; here it is the classifier's own, which a good copy approximates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentwatch.chaos.traffic.target import BATCH, Inputs, Target

__all__ = ["EXTRACTION", "STEP", "query_stream", "seeds_of"]

EXTRACTION = "extraction"

STEP = 0.1
"""Step of each value per round; pixels range from 0 to 1."""

QUERIES_PER_SEED = 16
"""Four rounds, each of which doubles the inputs."""


def query_stream(target: Target, seeds: Inputs, count: int, step: float) -> Inputs:
    """Return the queries in their order, the seeds first.

    Parameters
    ----------
    seeds
        Inputs to begin with, and their labels.
    count
        Total number of queries.
    step
        How far each value moves per round.
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
    """Return the number of seeds for a number of queries."""
    return -(-count // QUERIES_PER_SEED)


def _towards(target: Target, values: Tensor) -> Tensor:
    """Gradient of the highest output with respect to the inputs."""
    moving = values.clone().requires_grad_()
    with torch.enable_grad():
        highest = target.model(moving).amax(dim=1).sum()
    (gradient,) = torch.autograd.grad(highest, moving)
    return gradient
