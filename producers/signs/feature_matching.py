"""Feature matching: pictures whose deep activations are those of a clean picture of another class.

After Sabour et al. (2016), "Adversarial manipulation of deep representations".
"""

from __future__ import annotations

import torch
from rich.progress import Progress
from torch import Tensor

from producers.signs.attack import Attacked, AttackSettings, Recognised, other_classes, recognised
from producers.signs.drawing import derived_seed
from producers.signs.network import STAGES, SignNetwork, classify
from producers.signs.search import Judge, Judged, gradient, search

GUIDES = 2000
"""Clean drawings among which an attack finds activations to imitate."""


def guides(model: SignNetwork, *, seed: int) -> Recognised:
    """Return the clean drawings to imitate, all of them recognised, of all classes."""
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
    """Steer each picture's deepest captured activations to those of a random guide.

    Parameters are those of `producers.signs.attack.attack`; ``method`` is ignored.
    """
    pool = guides(model, seed=seed)
    generator = torch.Generator().manual_seed(derived_seed(seed, "feature matching"))
    wanted = other_classes(labels, seed=seed)
    task = progress.add_task("matching features", total=len(images))
    changed = [images[:0]]
    for rows in torch.split(torch.arange(len(images)), settings.batch_size):
        chosen = chosen_guides(pool, wanted[rows], generator)
        judge = matching(model, chosen)
        changed.append(
            search(
                images[rows], judge, eps=settings.eps, steps=settings.steps, generator=generator
            )
        )
        progress.update(task, advance=len(rows))
    result = torch.cat(changed)
    return Attacked(result, (classify(model, result) if len(result) else labels) != labels)


def chosen_guides(pool: Recognised, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random guide of each wanted class, float32 [B, 3, 32, 32]."""
    of_class = (pool.labels == wanted[:, None]).double()
    return pool.images[torch.multinomial(of_class, 1, generator=generator).squeeze(1)]


def matching(model: SignNetwork, chosen: Tensor) -> Judge:
    """Return the judge that measures the squared distance to the guides' deepest activations."""
    with torch.no_grad():
        aim = model.outputs(chosen)[STAGES[-1]]

    def judge(pictures: Tensor) -> Judged:
        distance = (model.outputs(pictures)[STAGES[-1]] - aim).square().sum(dim=1)
        return Judged(gradient(distance.sum(), pictures).sign(), distance.detach())

    return judge
