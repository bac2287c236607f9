"""Activation files in the form that ``latentwatch evaluate`` and ``baseline fit`` read.

Arrays ``<set>.<layer>`` (float16 [n, d]) and ``<set>.predicted`` (int16 [n]). What an attack
achieved is in a JSON file of the same name: ``{set: {"success": ..., "eps": ..., "rows": ...}}``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import orjson
from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.drift import STRENGTHS, corrupt
from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.chaos.traffic.sets import Arrays, figures_file, save_arrays
from latentwatch.lab.signs.adaptive import Knowledge, adaptive_attacks, run_attack
from latentwatch.lab.signs.attack import AttackSettings, Method, Recognised, attack, recognised
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.feature_matching import match_features
from latentwatch.lab.signs.network import Observed, SignNetwork, observe


@dataclass(frozen=True)
class SetSizes:
    """Rows of the sets that `evaluation_sets` makes."""

    baseline: int = 4000
    clean: int = 4000
    shifted: int = 600
    """Rows of each attack and each drift."""


@dataclass(frozen=True)
class AttackFigures:
    """The success of an attack.

    Parameters
    ----------
    success
        Share of the pictures, all of them recognised before, that the network now takes for
        something else; 0 to 1.
    eps
        Largest change of a pixel.
    rows
        Number of pictures.
    """

    success: float
    eps: float
    rows: int


@dataclass(frozen=True)
class ActivationSets:
    """Activations of several sets of pictures, seen through the production hook.

    Parameters
    ----------
    arrays
        As they stand in the file.
    attacks
        Figures of those sets that are attacks.
    """

    arrays: Arrays = field(default_factory=dict)
    attacks: dict[str, AttackFigures] = field(default_factory=dict)

    def add(self, name: str, model: SignNetwork, images: Tensor) -> Observed:
        """Add the activations of pictures."""
        observed = observe(model, images)
        self.arrays.update(_named(name, observed))
        return observed

    def add_attack(
        self, name: str, model: SignNetwork, images: Tensor, target: Recognised, eps: float
    ) -> None:
        """Add the activations of attacked pictures, and the attack's success."""
        observed = self.add(name, model, images)
        success = float(np.mean(observed.predicted != target.labels.numpy()))
        self.attacks[name] = AttackFigures(success, eps, len(images))

    def save(self, file: Path) -> None:
        """Write the arrays, and the figures of the attacks to `figures_file`."""
        save_arrays(file, self.arrays)
        figures = {name: asdict(own) for name, own in self.attacks.items()}
        text = orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        figures_file(file).write_bytes(text)


def validation_arrays(model: SignNetwork, *, seed: int, count: int) -> Arrays:
    """Return the set ``baseline``: activations of fresh drawings, through the production hook."""
    images, _ = draw_signs(count, seed=derived_seed(seed, "validation"))
    return _named("baseline", observe(model, images))


def evaluation_sets(
    model: SignNetwork, settings: AttackSettings, sizes: SetSizes, *, seed: int, progress: Progress
) -> ActivationSets:
    """Return the sets baseline, clean, one for each published attack, and one for each drift.

    Every attack starts from the same pictures, which the network recognises; ``method`` of the
    settings is ignored. Drift is what ordinary wear brings, on fresh drawings: every corruption
    at every strength, ``drift_noise_1`` to ``drift_fog_3``.
    """
    sets = ActivationSets(validation_arrays(model, seed=seed, count=sizes.baseline))
    clean, _ = draw_signs(sizes.clean, seed=derived_seed(seed, "clean"))
    sets.add("clean", model, clean)
    target = _targets(model, sizes.shifted, seed)
    for method in get_args(Method):
        own = replace(settings, method=method)
        found = attack(model, target.images, target.labels, own, seed=seed, progress=progress)
        name = attack_name(method, settings.eps)
        sets.add_attack(name, model, found.images, target, settings.eps)
    found = match_features(
        model, target.images, target.labels, settings, seed=seed, progress=progress
    )
    name = attack_name("feature_match", settings.eps)
    sets.add_attack(name, model, found.images, target, settings.eps)
    _add_drift(sets, model, seed, sizes.shifted, progress)
    return sets


def adaptive_sets(
    knowledge: Knowledge, settings: AttackSettings, *, rows: int, seed: int, progress: Progress
) -> ActivationSets:
    """Return a set for each adaptive attack, on the first pictures that the others attack too."""
    sets = ActivationSets()
    target = _targets(knowledge.model, rows, seed)
    for name, run in adaptive_attacks(knowledge, settings, seed=seed).items():
        images = run_attack(run, target, settings, name=name, seed=seed, progress=progress)
        sets.add_attack(name, knowledge.model, images, target, settings.eps)
    return sets


def attack_name(method: str, eps: float) -> str:
    """Return the name of an attack's set: ``pgd_eps03`` for an eps of 0.03."""
    return f"{method}_eps" + f"{eps:g}".removeprefix("0.")


def _targets(model: SignNetwork, count: int, seed: int) -> Recognised:
    return recognised(model, count, seed=derived_seed(seed, "attacked"))


def _named(name: str, observed: Observed) -> Arrays:
    arrays: Arrays = {f"{name}.{layer}": rows for layer, rows in observed.activations.items()}
    return arrays | {f"{name}.predicted": observed.predicted.astype(np.int16)}


def _add_drift(
    sets: ActivationSets, model: SignNetwork, seed: int, count: int, progress: Progress
) -> None:
    """Add the same drawings under every corruption at every strength."""
    images, _ = draw_signs(count, seed=derived_seed(seed, "drift"))
    task = progress.add_task("corrupting pictures", total=sum(map(len, STRENGTHS.values())))
    for kind, strengths in STRENGTHS.items():
        for strength in range(1, len(strengths) + 1):
            changed = corrupt(images, kind, strength, seed=seed)
            sets.add(f"drift_{kind}_{strength}", model, changed)
            progress.update(task, advance=1)
