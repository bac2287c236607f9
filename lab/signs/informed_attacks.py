"""Attacks that know more than the classifier's gradients; on the traffic-sign network alone.

Feature matching imitates the deep activations of another class. The adaptive attacks know the
frozen baseline as well, and give up part of the attack to evade the detector.
"""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.target import Inputs, Target
from latentwatch.lab.signs.adaptive import WINDOW, Knowledge, adaptive_attacks, run_attack
from latentwatch.lab.signs.attack import AttackSettings, Recognised
from latentwatch.lab.signs.detector_view import DetectorView
from latentwatch.lab.signs.feature_matching import match_features
from latentwatch.lab.signs.network import SignNetwork

__all__ = ["run_informed_attack"]

STEPS = 60
"""Gradient steps of the adaptive attacks."""


def run_informed_attack(
    target: Target, inputs: Inputs, name: str, eps: float, baseline: Path | None, *, seed: int
) -> Tensor:
    """Change recognised signs; `baseline` is what the adaptive attacks know of the detector."""
    model = target.model
    if not isinstance(model, SignNetwork):
        raise TrafficError(
            f"{name} needs the traffic-sign network, for it looks into its layers; the target is "
            f"{type(model).__name__}: choose an attack of the toolbox"
        )
    with Progress(disable=True) as progress:
        if name == "feature_match":
            settings = AttackSettings(eps=eps)
            return match_features(
                model, inputs.values, inputs.labels, settings, seed=seed, progress=progress
            ).images
        if baseline is None:
            raise TrafficError(f"{name} knows the detector: name its baseline with --baseline")
        settings = AttackSettings(eps=eps, steps=STEPS, batch_size=WINDOW)
        known = Knowledge(model, DetectorView.read(baseline))
        attack = adaptive_attacks(known, settings, seed=seed)[name]
        # the indices say where in a data set the pictures came from; no attack reads them
        signs = Recognised(inputs.values, inputs.labels, inputs.labels)
        return run_attack(attack, signs, settings, name=name, seed=seed, progress=progress)
