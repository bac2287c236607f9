"""The inputs of a stretch of traffic, changed where the plan says so."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.extraction import EXTRACTION
from latentwatch.chaos.traffic.kinds import Kind, changed
from latentwatch.chaos.traffic.plan import Plan, Stretch
from latentwatch.chaos.traffic.target import Inputs, Target

__all__ = ["COPIER", "Requests", "make_requests"]

COPIER = "copier"
"""The client that extracts."""

HONEST_CLIENTS = 24

SPARES = (2, 4, 8, 16)
"""Inputs to draw per request if one class is to be frequent; tried in turn."""


@dataclass(frozen=True)
class Requests:
    """Row ``i`` belongs to request ``i`` of the plan.

    Parameters
    ----------
    plan
        When requests come, and which are changed.
    values
        float32 [N, ...].
    labels
        int64 [N].
    kinds
        Kind of each request: "benign", or the name of the attack or drift.
    is_attack
        Whether the changed ones are attacks, not drift.
    clients
        Client of each request in an extraction: one copier among honest clients.
    """

    plan: Plan
    values: Tensor
    labels: Tensor
    kinds: tuple[str, ...]
    is_attack: bool
    clients: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.plan)

    def is_adversarial(self, row: int) -> bool:
        """Whether a request is part of an attack."""
        return self.is_attack and bool(self.plan.bad[row])


def make_requests(
    target: Target, plan: Plan, stretch: Stretch, kind: Kind | None, *, seed: int
) -> Requests:
    """Draw the inputs of all requests and change those that the plan calls bad."""
    clean = _mixed(target, len(plan), stretch, seed)
    values, labels = clean.values.clone(), clean.labels.clone()
    bad = torch.from_numpy(plan.bad)
    names = ["benign"] * len(plan)
    if kind is None or not bad.any():
        return Requests(plan, values, labels, tuple(names), is_attack=False)
    found = changed(kind, target, int(bad.sum()), seed=seed + 1)
    values[bad], labels[bad] = found.values, found.labels
    names = [kind.name if is_bad else "benign" for is_bad in plan.bad.tolist()]
    clients = _clients(plan) if kind.name == EXTRACTION else None
    return Requests(plan, values, labels, tuple(names), kind.is_attack, clients)


def _clients(plan: Plan) -> tuple[str, ...]:
    """Assign bad requests to the copier, and the others to honest clients in turn."""
    honest = (f"client-{row % HONEST_CLIENTS:02d}" for row in range(len(plan)))
    return tuple(
        COPIER if is_bad else client for is_bad, client in zip(plan.bad, honest, strict=True)
    )


def _mixed(target: Target, count: int, stretch: Stretch, seed: int) -> Inputs:
    """Draw benign inputs with the favoured class at its share."""
    if stretch.favoured is None or not stretch.favour:
        return target.inputs(count, seed)
    wanted = round(stretch.favour * count)
    for spare in SPARES:
        drawn = target.inputs(spare * count, seed)
        is_own = drawn.labels == stretch.favoured
        own, others = (rows.nonzero().squeeze(1) for rows in (is_own, ~is_own))
        if len(own) >= wanted and len(others) >= count - wanted:
            rows = torch.cat([own[:wanted], others[: count - wanted]])
            generator = torch.Generator().manual_seed(seed)
            rows = rows[torch.randperm(count, generator=generator)]
            return Inputs(drawn.values[rows], drawn.labels[rows])
    raise TrafficError(
        f"of {len(drawn.labels)} inputs {len(own)} are of class {stretch.favoured}; {wanted} are "
        "needed: take a smaller share, or another class"
    )
