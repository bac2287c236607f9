"""The demo's traffic signs as a target of chaos traffic.

``latentwatch.lab.signs.target:network`` and ``...:pictures`` are the classifier and its inputs.
`run_informed_attack` has the attacks that need this network.
"""

from __future__ import annotations

from pathlib import Path

from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.chaos.traffic.target import Inputs, Target
from latentwatch.lab.cache import cache_folder
from latentwatch.lab.signs.adaptive import WINDOW, Knowledge, adaptive_attacks, run_attack
from latentwatch.lab.signs.attack import AttackSettings, Recognised
from latentwatch.lab.signs.checkpoints import load_or_train
from latentwatch.lab.signs.detector_view import DetectorView
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.feature_matching import match_features
from latentwatch.lab.signs.network import SignNetwork
from latentwatch.lab.signs.training import TrainingSettings

__all__ = ["network", "pictures", "run_informed_attack"]

STEPS = 60
"""Gradient steps of the adaptive attacks."""


def network() -> SignNetwork:
    """Return the network of ``make demo``, which is trained if the user's cache lacks it."""
    with Progress(disable=True) as progress:
        model, _ = load_or_train(TrainingSettings(), cache_folder() / "signs", progress)
    return model


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw labelled signs that the network was not trained with."""
    return draw_signs(count, seed=derived_seed(seed, "chaos"))


def run_informed_attack(
    target: Target, inputs: Inputs, name: str, eps: float, baseline: Path | None, *, seed: int
) -> Tensor:
    """Change recognised signs by an attack that knows more than the gradients of the output.

    Feature matching imitates the deep activations of another class. The adaptive attacks also know
    the detector, by the artefact `baseline`, and give up part of the attack to evade it.
    """
    model = target.model
    if not isinstance(model, SignNetwork):
        raise TrafficError(
            f"{name} needs the layers of the traffic-sign network, and the target is a "
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
        knowledge = Knowledge(model, DetectorView.read(baseline))
        attack = adaptive_attacks(knowledge, settings, seed=seed)[name]
        # the indices, where pictures are in a data set, are not used by any attack
        signs = Recognised(inputs.values, inputs.labels, inputs.labels)
        return run_attack(attack, signs, settings, name=name, seed=seed, progress=progress)
