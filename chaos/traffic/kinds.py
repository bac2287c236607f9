"""Every kind of bad traffic by its name; a new kind is added here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latentwatch.chaos.traffic.attacks import ATTACKS, run_attack
from latentwatch.chaos.traffic.drift import DRIFTS, wear
from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.extraction import EXTRACTION, STEP, query_stream, seeds_of
from latentwatch.chaos.traffic.named import called
from latentwatch.chaos.traffic.target import Inputs, Target

__all__ = ["KINDS", "Kind", "changed"]

INFORMED_ATTACKS = (
    "feature_match", "adaptive_statistic_weight_0_1", "adaptive_selective", "adaptive_orthogonal",
    "adaptive_feature_match",
)  # fmt: skip
"""Attacks on the layers of the traffic-sign network, for which gradients of the output are not
enough."""

INFORMED_STRENGTH = 0.03

RUN_INFORMED_ATTACK = "latentwatch.lab.signs.target:run_informed_attack"
"""Named by its import path, as classifiers are: it belongs to the network that it looks into."""

KINDS = (*ATTACKS, EXTRACTION, *INFORMED_ATTACKS, *DRIFTS)


@dataclass(frozen=True)
class Kind:
    """A kind of bad traffic.

    Parameters
    ----------
    name
        One of `KINDS`.
    strength
        In the unit of the kind; None for its usual strength.
    baseline
        Artefact for the attacks that know the detector.
    """

    name: str
    strength: float | None = None
    baseline: Path | None = None

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise TrafficError(
                f"{self.name!r} is not a kind of traffic: choose among {', '.join(KINDS)}"
            )

    @property
    def is_attack(self) -> bool:
        """Whether it is an attack, not drift."""
        return self.name not in DRIFTS

    @property
    def used_strength(self) -> float:
        """The strength, or the usual strength of the kind."""
        if self.strength is not None:
            return self.strength
        if self.name in ATTACKS:
            return ATTACKS[self.name].strength
        if self.name == EXTRACTION:
            return STEP
        return INFORMED_STRENGTH if self.name in INFORMED_ATTACKS else 2.0

    def __str__(self) -> str:
        return f"{self.name}@{self.used_strength:g}"


def changed(kind: Kind, target: Target, count: int, *, seed: int) -> Inputs:
    """Draw inputs and change them; an attack starts from inputs that the classifier gets right.

    Inputs of an extraction are in the order of the queries.
    """
    if not kind.is_attack:
        worn = target.inputs(count, seed)
        return Inputs(wear(worn.values, kind.name, kind.used_strength, seed=seed), worn.labels)
    if kind.name == EXTRACTION:
        seeds = target.recognised(seeds_of(count), seed)
        return query_stream(target, seeds, count, kind.used_strength)
    found = target.recognised(count, seed)
    if kind.name in ATTACKS:
        values = run_attack(target, found, kind.name, kind.used_strength, seed=seed)
    else:
        values = called(RUN_INFORMED_ATTACK)(
            target, found, kind.name, kind.used_strength, kind.baseline, seed=seed
        )
    return Inputs(values, found.labels)
