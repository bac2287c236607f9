"""Adaptive attacks: attackers that know the detector, and give up part of the attack to evade it.

They change whole pictures, know the network and the frozen baseline, and choose the requests that
come together in a window. What they find is no bound on what a better attacker would.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional

from producers.signs.attack import AttackSettings, Recognised, other_classes
from producers.signs.detector_view import DetectorView
from producers.signs.drawing import derived_seed
from producers.signs.feature_matching import chosen_guides, guides, matching
from producers.signs.network import LOGITS, SignNetwork
from producers.signs.search import Judge, Judged, gradient, search

WEIGHTS = (0.01, 0.1, 1.0, 10.0)
"""Of the detector's statistics beside the cross-entropy."""

_GUIDES_TRIED = 5  # by the feature matching, for each picture
_MARGIN = 0.1  # in logits, by which a picture must fool: batches of another shape round otherwise
_NOT_FOOLED = 1e6  # cost of a picture that does not fool, beyond that of any that does


class Knowledge(NamedTuple):
    """What the attacker has."""

    model: SignNetwork
    detector: DetectorView


class _Seen(NamedTuple):
    """A batch as the network and the detector see it."""

    logits: Tensor
    rows: Tensor
    groups: Tensor

    @classmethod
    def of(cls, knowledge: Knowledge, pictures: Tensor) -> _Seen:
        outputs = knowledge.model.outputs(pictures)
        groups = knowledge.detector.groups(outputs[LOGITS].argmax(dim=1))
        return cls(outputs[LOGITS], knowledge.detector.rows(outputs), groups)


Attack = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""From pictures, labels and a generator to changed pictures, for one batch."""


def adaptive_attacks(
    knowledge: Knowledge, settings: AttackSettings, *, seed: int
) -> Mapping[str, Attack]:
    """Return the attacks by the name of their set; ``method`` of the settings is ignored."""

    def within(judge_of: Callable[[Tensor, torch.Generator], Judge]) -> Attack:
        def run(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
            judge = judge_of(labels, generator)
            eps, steps = settings.eps, settings.steps
            return search(images, judge, eps=eps, steps=steps, generator=generator)

        return run

    return {
        **{
            f"adaptive_statistic_weight_{_without_dot(weight)}": within(
                lambda labels, _, weight=weight: statistic(knowledge, labels, weight)
            )
            for weight in WEIGHTS
        },
        "adaptive_feature_match": best_match(knowledge, settings, seed=seed),
        "adaptive_selective": within(
            lambda labels, generator: typical(knowledge, labels, generator, orthogonal=False)
        ),
        "adaptive_orthogonal": within(
            lambda labels, generator: typical(knowledge, labels, generator, orthogonal=True)
        ),
    }


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


def statistic(knowledge: Knowledge, labels: Tensor, weight: float) -> Judge:
    """Cross-entropy plus the detector's own statistics of the batch (after Kaya et al. 2022).

    The batch is the attacker's window. In all deciding views the mean shift T is to be small, and
    the mean energy E to be that of clean traffic, for it is tested on both sides.
    """

    def judge(pictures: Tensor) -> Judged:
        seen = _Seen.of(knowledge, pictures)
        loss = weight * _batch_excess(knowledge, seen) - functional.cross_entropy(
            seen.logits, labels
        )
        return Judged(
            gradient(loss, pictures).sign(), loss.detach().float().expand(len(pictures))
        )

    return judge


def _batch_excess(knowledge: Knowledge, seen: _Seen) -> Tensor:
    """Return the sum over the deciding views of T and of the deviation of E."""
    total = torch.zeros((), dtype=torch.float64)
    for view in knowledge.detector.views:
        shift, energy = view.excess(view.residuals(seen.rows, seen.groups), seen.groups)
        total = total + shift + energy.abs()
    return total


def typical(
    knowledge: Knowledge, labels: Tensor, generator: torch.Generator, *, orthogonal: bool
) -> Judge:
    """Fool the network with requests that look typical one by one (Bryniarski et al. 2021).

    Each step follows the loss that is not satisfied yet: the cross-entropy while the network is not
    fooled, then the energy of the first view, until it is that of a clean request drawn at random.
    Typical requests that were all alike would betray themselves by their mean. With ``orthogonal``
    a step goes along the contour of the other loss.
    """
    view = knowledge.detector.views[0]
    reference = view.tensors["reference"]
    goal = reference[torch.randint(len(reference), labels.shape, generator=generator)]

    def judge(pictures: Tensor) -> Judged:
        seen = _Seen.of(knowledge, pictures)
        energy = view.residuals(seen.rows, seen.groups).energy
        surplus = view.atypicality(energy, seen.groups) - goal
        margin = fooling_margin(seen.logits, labels)
        entropy = -functional.cross_entropy(seen.logits, labels, reduction="sum")
        fool, hide = (gradient(of, pictures) for of in (entropy, surplus.sum()))
        if orthogonal:
            fool, hide = _across(fool, hide), _across(hide, fool)
        uphill = torch.where(_each(margin < _MARGIN), fool, hide) * _each(
            (margin < _MARGIN) | (surplus > 0)
        )
        return Judged(_normalised(uphill), _cost(margin, surplus.clamp(min=0)))

    return judge


def best_match(knowledge: Knowledge, settings: AttackSettings, *, seed: int) -> Attack:
    """Feature matching to several clean drawings of a random wanted class; the best is kept.

    The best fools the network, and looks most typical in the deciding view where it looks worst.
    """
    pool = guides(knowledge.model, seed=seed)

    def run(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        wanted = other_classes(labels, seed=int(torch.randint(2**31, (), generator=generator)))
        best, least = images, torch.full((len(images),), torch.inf)
        for _ in range(_GUIDES_TRIED):
            judge = matching(knowledge.model, chosen_guides(pool, wanted, generator))
            eps, steps = settings.eps, settings.steps
            found = search(images, judge, eps=eps, steps=steps, generator=generator)
            cost = _worst_view_cost(knowledge, found, labels)
            better = cost < least
            least = torch.where(better, cost, least)
            best = torch.where(_each(better), found, best)
        return best

    return run


def _worst_view_cost(knowledge: Knowledge, pictures: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        seen = _Seen.of(knowledge, pictures)
        surplus = [
            view.atypicality(view.residuals(seen.rows, seen.groups).energy, seen.groups)
            for view in knowledge.detector.views
        ]
    worst = torch.stack(surplus).amax(dim=0)
    return _cost(fooling_margin(seen.logits, labels), worst)


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
