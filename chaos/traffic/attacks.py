"""Published attacks on any torch classifier, through the adversarial-robustness-toolbox.

That package takes seconds to import, so it is imported when an attack is computed. Inputs stay
within the range of the clean ones; pictures are rounded to 8 bits, as in files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentwatch.chaos.traffic.errors import TrafficError
from latentwatch.chaos.traffic.filters import round_to_8_bits, within_eps
from latentwatch.chaos.traffic.seeds import toolbox_seeded
from latentwatch.chaos.traffic.target import Inputs, Target

__all__ = ["ATTACKS", "Attack", "run_attack"]

PICTURE_AXES = 4
STEP = 1 / 6  # of eps: as latentwatch.lab.signs.attack has it
STEPS = 20
BATCH = 100
SQUARE_QUERIES = 300
CARLINI = {"max_iter": 10, "binary_search_steps": 4, "max_halving": 3, "max_doubling": 3}
"""Limits of its search, which takes two seconds per picture with the toolbox's defaults."""

Make = Callable[[Any, float, type[Any]], Any]


@dataclass(frozen=True)
class Attack:
    """An attack of the toolbox.

    Parameters
    ----------
    path
        ``module.Class`` below ``art.attacks.evasion``.
    strength
        The usual strength, in `unit`.
    unit
        "eps", the largest change of a value; "confidence", the margin between logits; "overshoot",
        the fraction by which the smallest change is exceeded; "side", of a square patch as a
        fraction of the picture's side.
    options
        Returns the options of the class for a strength.
    targeted
        Whether it aims at a random other class.
    """

    path: str
    strength: float
    unit: str
    options: Callable[[float], Mapping[str, Any]]
    targeted: bool = False


def _pgd(eps: float, *, targeted: bool = False) -> Mapping[str, Any]:
    return {
        "norm": np.inf, "eps": eps, "eps_step": eps * STEP, "max_iter": STEPS,
        "num_random_init": 1, "batch_size": BATCH, "targeted": targeted, "verbose": False,
    }  # fmt: skip


_PGD = (
    "projected_gradient_descent.projected_gradient_descent_pytorch.ProjectedGradientDescentPyTorch"
)

ATTACKS: Mapping[str, Attack] = {
    "pgd": Attack(_PGD, 0.03, "eps", _pgd),
    "pgd_targeted": Attack(
        _PGD, 0.03, "eps", lambda eps: _pgd(eps, targeted=True), targeted=True
    ),
    "fgsm": Attack(
        "fast_gradient.FastGradientMethod", 0.03, "eps",
        lambda eps: {"norm": np.inf, "eps": eps, "batch_size": BATCH},
    ),
    "deepfool": Attack(
        "deepfool.DeepFool", 0.02, "overshoot",
        lambda part: {"epsilon": part, "max_iter": 20, "nb_grads": 5, "batch_size": BATCH,
                      "verbose": False},
    ),
    "carlini_l2": Attack(
        "carlini.CarliniL2Method", 0.0, "confidence",
        lambda margin: {**CARLINI, "confidence": margin, "learning_rate": 0.05,
                        "batch_size": BATCH, "verbose": False},
    ),
    "square": Attack(
        "square_attack.SquareAttack", 0.03, "eps",
        lambda eps: {"norm": np.inf, "eps": eps, "max_iter": SQUARE_QUERIES, "batch_size": BATCH,
                     "verbose": False},
    ),
    "patch": Attack(_PGD, 0.25, "side", lambda _: _pgd(1.0)),
}  # fmt: skip
"""By name. ``square`` is a black-box attack: it only needs scores. ``patch`` changes a square of
each picture without limit, at a random position."""


def run_attack(target: Target, inputs: Inputs, name: str, strength: float, *, seed: int) -> Tensor:
    """Change inputs, all recognised before, so that the classifier misclassifies them.

    Parameters
    ----------
    name
        A key of `ATTACKS`.
    strength
        In the attack's unit.
    seed
        Of the starting points, target classes, and positions of patches.

    Returns
    -------
    Tensor
        float32, the shape of the inputs.
    """
    attack = ATTACKS[name]
    generator = torch.Generator().manual_seed(seed)
    classes = _outputs(target.model, inputs.values)
    aims = inputs.labels
    if attack.targeted:
        aims = (aims + torch.randint(1, classes, aims.shape, generator=generator)) % classes
    options: dict[str, Any] = {}
    if attack.unit == "side":
        options["mask"] = _squares(inputs.values, strength, generator).numpy()
    found = _of_the_toolbox(target.model, inputs.values, attack, strength, classes)
    with toolbox_seeded(seed):
        changed = found.generate(x=inputs.values.numpy(), y=aims.numpy(), **options)
    return _as_delivered(torch.from_numpy(np.asarray(changed)), inputs.values, attack, strength)


def _of_the_toolbox(
    model: nn.Module, values: Tensor, attack: Attack, strength: float, classes: int
) -> Any:
    import importlib

    try:
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise TrafficError(
            "attacks need the adversarial-robustness-toolbox: pip install 'latentwatch[chaos]'"
        ) from error
    module, _, name = attack.path.rpartition(".")
    made = getattr(importlib.import_module(f"art.attacks.evasion.{module}"), name)
    classifier = PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(values.shape[1:]),
        nb_classes=classes,
        clip_values=_range(values),
        device_type="cpu",
    )
    return made(classifier, **attack.options(strength))


def _outputs(model: nn.Module, values: Tensor) -> int:
    with torch.inference_mode():
        return int(model(values[:1]).shape[1])


def _range(values: Tensor) -> tuple[float, float]:
    """Range of the values: 0 to 1 for pixels, or that of the inputs."""
    low, high = values.min().item(), values.max().item()
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _squares(values: Tensor, side: float, generator: torch.Generator) -> Tensor:
    """Masks [N, C, H, W] with one square each, at a random position."""
    if values.dim() != PICTURE_AXES:
        raise TrafficError(f"a patch needs pictures [N, C, H, W], not inputs {list(values.shape)}")
    count, _, height, width = values.shape
    across = max(1, round(side * min(height, width)))
    top = torch.randint(height - across + 1, (count, 1, 1, 1), generator=generator)
    left = torch.randint(width - across + 1, (count, 1, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    inside = (rows >= top) & (rows < top + across) & (columns >= left) & (columns < left + across)
    return inside.expand(values.shape).float()


def _as_delivered(changed: Tensor, values: Tensor, attack: Attack, strength: float) -> Tensor:
    """Round pictures to 8 bits as in files; leave other inputs unchanged."""
    if values.dim() != PICTURE_AXES or _range(values) != (0.0, 1.0):
        return changed
    if attack.unit == "eps" and strength >= 1 / 255:
        return within_eps(changed, values, strength)
    return round_to_8_bits(changed)
