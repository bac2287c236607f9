"""The published attacks: gradient methods of the adversarial-robustness-toolbox.

That package takes seconds to import, so it is imported only here, when an attack is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from latentwatch.chaos.traffic.filters import within_eps
from latentwatch.chaos.traffic.seeds import derived_seed, toolbox_seeded
from latentwatch.lab.signs.drawing import IMAGE_SIZE, draw_signs
from latentwatch.lab.signs.errors import AttackError, NetworkError
from latentwatch.lab.signs.network import SignNetwork, classify
from latentwatch.lab.signs.templates import CLASS_NAMES

_DRAWN_AT_ONCE = 512
_STEP = 1 / 6  # of eps; with 20 steps, far enough to cross the ball and come back
_USELESS = 0.2  # share of recognised pictures below which the search for them is given up


Method = Literal["pgd", "pgd_targeted", "fgsm"]


@dataclass(frozen=True)
class AttackSettings:
    """A gradient attack in the maximum norm.

    Parameters
    ----------
    eps
        Largest change of a pixel, with pixels from 0 to 1; at least one 8-bit step, 1/255.
    steps
        Gradient steps; ``fgsm`` takes one.
    batch_size
        Pictures attacked at once.
    method
        ``pgd``, projected gradient descent (Madry et al. 2018), away from the label;
        ``pgd_targeted``, towards a random other class; ``fgsm``, one step (Goodfellow et al. 2015).

    Raises
    ------
    AttackError
        A number is out of range.
    """

    eps: float = 0.03
    steps: int = 20
    batch_size: int = 100
    method: Method = "pgd"

    def __post_init__(self) -> None:
        if not 1 / 255 <= self.eps <= 1 or self.steps < 1 or self.batch_size < 1:
            raise AttackError(
                f"cannot attack with {self}: use an eps from 1/255 (below, rounding to 8-bit "
                "pixels undoes it) to 1, and at least one step and one picture"
            )


class Recognised(NamedTuple):
    """Drawings that a network classifies correctly."""

    images: Tensor
    """float32 [N, 3, 32, 32]."""

    labels: Tensor
    """int64 [N]."""

    indices: Tensor
    """int64 [N], ascending: the index of each drawing in its data set."""


class Attacked(NamedTuple):
    """The result of an attack."""

    images: Tensor
    """float32 [N, 3, 32, 32], multiples of 1/255."""

    fooled: Tensor
    """bool [N]: whether the network now misclassifies it."""


def recognised(model: SignNetwork, count: int, *, seed: int) -> Recognised:
    """Return the first ``count`` drawings of a data set that the network classifies correctly.

    Raises
    ------
    NetworkError
        The network recognises next to nothing.
    """
    found: list[Recognised] = []
    drawn = missing = 0
    while (missing := count - sum(len(part.labels) for part in found)) > 0:
        if drawn * _USELESS > count + _DRAWN_AT_ONCE:
            raise NetworkError(
                f"the network recognises {count - missing} of {drawn} drawings, too few to "
                "attack: train it with more pictures or epochs"
            )
        images, labels = draw_signs(_DRAWN_AT_ONCE, seed=seed, first=drawn)
        right = (classify(model, images) == labels).nonzero().squeeze(1)[:missing]
        found.append(Recognised(images[right], labels[right], right + drawn))
        drawn += _DRAWN_AT_ONCE
    if not found:
        return Recognised(*draw_signs(0, seed=seed), torch.empty(0, dtype=torch.int64))
    return Recognised(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def attack(
    model: SignNetwork,
    images: Tensor,
    labels: Tensor,
    settings: AttackSettings,
    *,
    seed: int,
    progress: Progress,
) -> Attacked:
    """Change pictures slightly, so that the network misclassifies them.

    Parameters
    ----------
    model
        The network under attack; the attacker knows its weights.
    images
        float32 [N, 3, 32, 32], multiples of 1/255 in [0, 1].
    labels
        int64 [N], what is on them.
    settings
        Which attack, how far and how long.
    seed
        Seed of the random starting points, and of the target classes of a targeted attack.
    progress
        Shows the batches.

    Returns
    -------
    Attacked
        Pictures rounded to 8 bits, no pixel changed by more than ``eps``.

    Raises
    ------
    AttackError
        The adversarial-robustness-toolbox is not installed.
    """
    if not len(images):
        return Attacked(images, labels.bool())
    generator = _of_the_toolbox(model, settings)
    aims = other_classes(labels, seed=seed) if settings.method == "pgd_targeted" else labels
    task = progress.add_task("computing the attack", total=len(images))
    changed = []
    with toolbox_seeded(derived_seed(seed, "attack start")):
        for batch in torch.split(torch.arange(len(images)), settings.batch_size):
            attacked = generator.generate(x=images[batch].numpy(), y=aims[batch].numpy())
            changed.append(within_eps(torch.from_numpy(attacked), images[batch], settings.eps))
            progress.update(task, advance=len(batch))
    result = torch.cat(changed)
    return Attacked(result, classify(model, result) != labels)


def other_classes(labels: Tensor, *, seed: int) -> Tensor:
    """Return a random wrong class for each label, int64 [N]."""
    generator = torch.Generator().manual_seed(derived_seed(seed, "wanted classes"))
    shift = torch.randint(1, len(CLASS_NAMES), labels.shape, generator=generator)
    return (labels + shift) % len(CLASS_NAMES)


def _of_the_toolbox(model: SignNetwork, settings: AttackSettings) -> Any:
    """Return the toolbox's attack on a network."""
    try:
        from art.attacks.evasion.fast_gradient import FastGradientMethod
        from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (  # noqa: E501
            ProjectedGradientDescentPyTorch,
        )
        from art.estimators.classification import PyTorchClassifier
    except ImportError as error:
        raise AttackError(
            "the attack needs the adversarial-robustness-toolbox: pip install 'latentwatch[demo]'"
        ) from error
    classifier = PyTorchClassifier(
        model=model.eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, IMAGE_SIZE, IMAGE_SIZE),
        nb_classes=len(CLASS_NAMES),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    common = {"norm": np.inf, "eps": settings.eps, "batch_size": settings.batch_size}
    if settings.method == "fgsm":
        return FastGradientMethod(classifier, **common)
    return ProjectedGradientDescentPyTorch(
        classifier,
        eps_step=settings.eps * _STEP,
        max_iter=settings.steps,
        num_random_init=1,
        targeted=settings.method == "pgd_targeted",
        verbose=False,
        **common,
    )
