"""Feature matching: pictures whose deep activations are those of a clean picture of another class.

After Sabour et al. (2016), "Adversarial manipulation of deep representations".
"""

from __future__ import annotations

import torch
from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.attack import Attacked, AttackSettings, Recognised, recognised
from latentwatch.lab.signs.errors import AttackError
from latentwatch.lab.signs.network import STAGES, SignNetwork, classify
from latentwatch.lab.signs.search import Judge, Judged, gradient, search

GUIDES = 512
"""Clean drawings among which an attack finds activations to imitate."""


def guides(model: SignNetwork, *, seed: int) -> Recognised:
    """Return the clean drawings to imitate, all of them recognised."""
    return recognised(model, GUIDES, seed=derived_seed(seed, "guides"))


def match_features(
    model: SignNetwork,
    images: Tensor,
    labels: Tensor,
    settings: AttackSettings,
    *,
    seed: int,
    progress: Progress,
) -> Attacked:
    """Steer each picture's deepest activations to those of a random guide of another class.

    Parameters are those of `latentwatch.lab.signs.attack.attack`; ``method`` is ignored.
    """
    pool = guides(model, seed=seed)
    generator = torch.Generator().manual_seed(derived_seed(seed, "feature matching"))
    task = progress.add_task("matching features", total=len(images))
    changed = [images[:0]]
    for rows in torch.split(torch.arange(len(images)), settings.batch_size):
        judge = matching(model, chosen_guides(pool, labels[rows], generator))
        eps, steps = settings.eps, settings.steps
        changed.append(search(images[rows], judge, eps=eps, steps=steps, generator=generator))
        progress.update(task, advance=len(rows))
    result = torch.cat(changed)
    return Attacked(result, (classify(model, result) if len(result) else labels) != labels)


def chosen_guides(pool: Recognised, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random guide of another class for each label, float32 [B, 3, 32, 32].

    Raises
    ------
    AttackError
        All guides are of one class.
    """
    of_another_class = pool.labels != labels[:, None]
    if not of_another_class.any(dim=1).all():
        raise AttackError(
            "the network recognises only one class, and there is no other to imitate: train "
            "it with more pictures or epochs"
        )
    chosen = torch.multinomial(of_another_class.double(), 1, generator=generator)
    return pool.images[chosen.squeeze(1)]


def matching(model: SignNetwork, chosen: Tensor) -> Judge:
    """Return the judge that measures the squared distance to the guides' deepest activations."""
    with torch.no_grad():
        aim = model.outputs(chosen)[STAGES[-1]]

    def judge(pictures: Tensor) -> Judged:
        distance = (model.outputs(pictures)[STAGES[-1]] - aim).square().sum(dim=1)
        return Judged(gradient(distance.sum(), pictures).sign(), distance.detach())

    return judge
