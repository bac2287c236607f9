"""Adaptive attacks: attackers that know the detector, and give up part of the attack to evade it.

They change whole pictures, know the network and the frozen baseline, and choose the requests that
share a window. A better attacker may achieve more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.attack import AttackSettings, Recognised
from latentwatch.lab.signs.detector_view import DetectorView, Requests
from latentwatch.lab.signs.feature_matching import chosen_guides, guides, matching
from latentwatch.lab.signs.network import LOGITS, SignNetwork
from latentwatch.lab.signs.search import Judge, Judged, gradient, search

WEIGHTS = (0.001, 0.01, 0.1)
"""Weights of the detector's statistics, relative to the missing margin."""

STEPS = 100
"""Gradient steps, more than in the published attacks, because there are two aims."""

WINDOW = 512
"""Requests that an attack plans together, as many as the detector's longest window. If it planned
hundreds, each would look clean, and windows that hold parts of several would not."""

GUIDES_TRIED = 5
"""Guides that the feature matching tries for each picture."""

_MARGIN = 0.1  # in logits, by which a picture must fool: batches of another shape round otherwise
_NOT_FOOLED = 1e6  # cost of a picture that does not fool, beyond that of any that does


class Knowledge(NamedTuple):
    """What the attacker knows."""

    model: SignNetwork
    detector: DetectorView


class _Seen(NamedTuple):
    """Outputs of the network and inputs of the detector for a batch."""

    logits: Tensor
    requests: Requests

    @classmethod
    def of(cls, knowledge: Knowledge, pictures: Tensor) -> _Seen:
        outputs = knowledge.model.outputs(pictures)
        return cls(outputs[LOGITS], knowledge.detector.requests(outputs))


Attack = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Returns changed pictures for pictures, labels and a generator, of one batch."""

JudgeOf = Callable[[Tensor, torch.Generator], Judge]
"""Returns the judge of one batch for labels and a generator."""


def adaptive_attacks(
    knowledge: Knowledge, settings: AttackSettings, *, seed: int
) -> Mapping[str, Attack]:
    """Return the attacks by the name of their set; ``method`` of the settings is ignored."""
    judges: dict[str, JudgeOf] = {
        f"adaptive_statistic_weight_{_without_dot(weight)}": partial(statistic, knowledge, weight)
        for weight in WEIGHTS
    }
    judges["adaptive_selective"] = partial(typical, knowledge, orthogonal=False)
    judges["adaptive_orthogonal"] = partial(typical, knowledge, orthogonal=True)
    attacks: dict[str, Attack] = {
        name: partial(_search, judge_of, settings) for name, judge_of in judges.items()
    }
    return attacks | {"adaptive_feature_match": best_match(knowledge, settings, seed=seed)}


def run_attack(
    run: Attack,
    target: Recognised,
    settings: AttackSettings,
    *,
    name: str,
    seed: int,
    progress: Progress,
) -> Tensor:
    """Attack recognised pictures batch by batch; float32 [N, 3, 32, 32], multiples of 1/255."""
    generator = torch.Generator().manual_seed(derived_seed(seed, name))
    task = progress.add_task(name.replace("_", " "), total=len(target.labels))
    changed = [target.images[:0]]
    for rows in torch.split(torch.arange(len(target.labels)), settings.batch_size):
        changed.append(run(target.images[rows], target.labels[rows], generator))
        progress.update(task, advance=len(rows))
    return torch.cat(changed)


def _search(
    judge_of: JudgeOf,
    settings: AttackSettings,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
) -> Tensor:
    judge, eps, steps = judge_of(labels, generator), settings.eps, settings.steps
    return search(images, judge, eps=eps, steps=steps, generator=generator)


def statistic(knowledge: Knowledge, weight: float, labels: Tensor, _: torch.Generator) -> Judge:
    """Fool the network and keep the detector's own statistics of the batch low.

    The batch is the attacker's window (after Kaya et al. 2022). The loss uses the missing margin
    (Carlini and Wagner 2017), not the cross-entropy, which keeps pulling at pictures that already
    fool the network: at equal statistics, three times as many pictures fooled.
    """

    def judge(pictures: Tensor) -> Judged:
        seen = _Seen.of(knowledge, pictures)
        missing = (_MARGIN - fooling_margin(seen.logits, labels)).clamp(min=0).mean()
        loss = missing + weight * batch_excess(knowledge, seen.requests)
        return Judged(gradient(loss, pictures).sign(), loss.detach().float().expand(len(pictures)))

    return judge


def batch_excess(knowledge: Knowledge, requests: Requests) -> Tensor:
    """Return the sum over the deciding views of T and of the deviation of E, as they are tested.

    A small T raises no alarm; an E that is too small is as suspicious as one too large.
    """
    total = torch.zeros((), dtype=torch.float64)
    for view in knowledge.detector.views:
        shift, squared_distance = view.excess(view.residuals(requests), requests.groups)
        total = total + shift.clamp(min=0) + squared_distance.abs()
    return total


def typical(
    knowledge: Knowledge, labels: Tensor, generator: torch.Generator, *, orthogonal: bool
) -> Judge:
    """Fool the network with requests that look typical one by one (Bryniarski et al. 2021).

    Each step follows the loss that is not yet satisfied: the cross-entropy while the network is not
    fooled, then the squared distance in the first view, until it is that of a clean request drawn
    at random. Typical requests that are all alike would be detected by their mean. With
    ``orthogonal`` a step goes along the contour of the other loss.
    """
    reference = knowledge.detector.views[0].tensors["reference"]
    goal = reference[torch.randint(len(reference), labels.shape, generator=generator)]

    def judge(pictures: Tensor) -> Judged:
        seen = _Seen.of(knowledge, pictures)
        surplus = _atypicality(knowledge, seen.requests)[0] - goal
        margin = fooling_margin(seen.logits, labels)
        entropy = -functional.cross_entropy(seen.logits, labels, reduction="sum")
        fool, hide = (gradient(of, pictures) for of in (entropy, surplus.sum()))
        if orthogonal:
            fool, hide = _across(fool, hide), _across(hide, fool)
        fooled = margin >= _MARGIN
        uphill = torch.where(_each(fooled), hide * _each(surplus > 0), fool)
        return Judged(_normalised(uphill), _cost(margin, surplus.clamp(min=0)))

    return judge


def best_match(
    knowledge: Knowledge, settings: AttackSettings, *, seed: int, tried: int = GUIDES_TRIED
) -> Attack:
    """Feature matching to several clean drawings of other classes; the best is kept.

    The best fools the network, and looks most typical in the deciding view where it looks worst.
    """
    pool = guides(knowledge.model, seed=seed)

    def run(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        best, least = images, torch.full((len(images),), torch.inf)
        for _ in range(tried):
            judge = matching(knowledge.model, chosen_guides(pool, labels, generator))
            eps, steps = settings.eps, settings.steps
            found = search(images, judge, eps=eps, steps=steps, generator=generator)
            cost = worst_view_cost(knowledge, found, labels)
            better = cost < least
            least = torch.where(better, cost, least)
            best = torch.where(_each(better), found, best)
        return best

    return run


def worst_view_cost(knowledge: Knowledge, pictures: Tensor, labels: Tensor) -> Tensor:
    """Return how far each picture is from fooling unnoticed, [B], in its worst deciding view."""
    with torch.no_grad():
        seen = _Seen.of(knowledge, pictures)
        worst = _atypicality(knowledge, seen.requests).amax(dim=0)
    return _cost(fooling_margin(seen.logits, labels), worst)


def _atypicality(knowledge: Knowledge, requests: Requests) -> Tensor:
    """Return the standardised log squared distances in each deciding view, [views, B]."""
    return torch.stack(
        [
            view.atypicality(view.residuals(requests).squared_distance, requests.groups)
            for view in knowledge.detector.views
        ]
    )


def fooling_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the strongest other class leads over the label, [B], in logits."""
    right = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.amax(dim=1) - right


def _cost(margin: Tensor, surplus: Tensor) -> Tensor:
    """Fooling comes first, looking typical second."""
    cost = torch.where(margin < _MARGIN, _NOT_FOOLED - margin, surplus)
    return cost.detach().float()


def _across(first: Tensor, second: Tensor) -> Tensor:
    """Take from each picture's first gradient the part along the second."""
    along = (first * second).sum(dim=(1, 2, 3), keepdim=True)
    return first - second * along / second.square().sum(dim=(1, 2, 3), keepdim=True).clamp(1e-30)


def _normalised(direction: Tensor) -> Tensor:
    """Scale each picture's direction to a root mean square of one; zero stays zero."""
    size = direction.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return direction / size.clamp(min=1e-30)


def _each(per_picture: Tensor) -> Tensor:
    return per_picture[:, None, None, None]


def _without_dot(weight: float) -> str:
    return f"{weight:g}".replace(".", "_")
