from collections.abc import Callable, Mapping
from typing import NamedTuple

import pytest
import torch
from rich.progress import Progress
from torch import Tensor

from latentwatch.lab.signs.adaptive import (
    WEIGHTS,
    Attack,
    Knowledge,
    adaptive_attacks,
    batch_excess,
    best_match,
    fooling_margin,
    run_attack,
    statistic,
    typical,
    worst_view_cost,
)
from latentwatch.lab.signs.attack import AttackSettings, Recognised, attack
from latentwatch.lab.signs.network import LOGITS, classify
from latentwatch.lab.signs.search import gradient, search

SETTINGS = AttackSettings(eps=0.03, steps=20, batch_size=32)
STATISTIC = [f"adaptive_statistic_weight_{name}" for name in ("0_001", "0_01", "0_1")]
TYPICAL = ["adaptive_selective", "adaptive_orthogonal"]
MATCH = "adaptive_feature_match"
NAMES = [*STATISTIC, *TYPICAL, MATCH]


@pytest.fixture(scope="module")
def known(knowledge: Knowledge) -> Mapping[str, Attack]:
    return adaptive_attacks(knowledge, SETTINGS, seed=3)


def run(attack: Attack, target: Recognised, settings: AttackSettings = SETTINGS) -> Tensor:
    progress = Progress(disable=True)
    return run_attack(attack, target, settings, name="tried", seed=3, progress=progress)


@pytest.fixture(scope="module")
def changed(
    knowledge: Knowledge, pictures: Recognised, known: Mapping[str, Attack]
) -> dict[str, Tensor]:
    """The pictures of every adaptive attack, and those of an attack that ignores the detector."""
    plain = attack(
        knowledge.model,
        pictures.images,
        pictures.labels,
        SETTINGS,
        seed=3,
        progress=Progress(disable=True),
    )
    return {"pgd": plain.images} | {name: run(own, pictures) for name, own in known.items()}


def excess(knowledge: Knowledge, images: Tensor) -> float:
    with torch.no_grad():
        requests = knowledge.detector.requests(knowledge.model.outputs(images))
        return batch_excess(knowledge, requests).item()


def p_values(knowledge: Knowledge, images: Tensor) -> Tensor:
    """Typicality of each request, as the detector reports it."""
    with torch.no_grad():
        requests = knowledge.detector.requests(knowledge.model.outputs(images))
        view = knowledge.detector.views[0]
        return view.p_values(view.residuals(requests).squared_distance, requests.groups)


def success(knowledge: Knowledge, images: Tensor, target: Recognised) -> float:
    return (classify(knowledge.model, images) != target.labels).double().mean().item()


def test_every_attack_has_a_name(known: Mapping[str, Attack]) -> None:
    assert sorted(known) == sorted(NAMES)
    assert len(STATISTIC) == len(WEIGHTS)
    assert not any("." in name for name in NAMES)  # what follows a dot in a file is the layer


@pytest.mark.parametrize("name", NAMES)
def test_pictures_stay_in_the_ball_and_8_bit(
    changed: dict[str, Tensor],
    pictures: Recognised,
    is_allowed: Callable[[Tensor, Tensor, float], bool],
    name: str,
) -> None:
    assert is_allowed(changed[name], pictures.images, SETTINGS.eps)
    assert not torch.equal(changed[name], pictures.images)


@pytest.fixture(scope="module")
def blind(knowledge: Knowledge, pictures: Recognised) -> Tensor:
    """Pictures of the same search for the same margin, without an eye on the detector."""
    generator = torch.Generator().manual_seed(3)
    judge = statistic(knowledge, 0.0, pictures.labels, generator)
    eps, steps = SETTINGS.eps, SETTINGS.steps
    return search(pictures.images, judge, eps=eps, steps=steps, generator=generator)


@pytest.mark.parametrize("name", STATISTIC)
def test_statistics_of_the_window_fall_far_below_those_of_a_plain_attack(
    knowledge: Knowledge, changed: dict[str, Tensor], blind: Tensor, name: str
) -> None:
    assert excess(knowledge, changed[name]) < 0.25 * excess(knowledge, changed["pgd"])
    assert excess(knowledge, changed[name]) < 0.5 * excess(knowledge, blind)


def test_a_heavier_detector_costs_success(
    knowledge: Knowledge, changed: dict[str, Tensor], pictures: Recognised
) -> None:
    light, _, heavy = (success(knowledge, changed[name], pictures) for name in STATISTIC)
    assert light > 0.6
    assert heavy < light


@pytest.mark.parametrize("name", TYPICAL)
def test_single_requests_look_typical_and_fool_all_the_same(
    knowledge: Knowledge, changed: dict[str, Tensor], pictures: Recognised, name: str
) -> None:
    plain = p_values(knowledge, changed["pgd"])
    own = p_values(knowledge, changed[name])
    assert own.median() > plain.median() + 0.1
    assert (own < 0.1).sum() < (plain < 0.1).sum()
    assert success(knowledge, changed[name], pictures) > 0.6


def test_the_best_match_looks_better_than_a_plain_attack_in_its_worst_view(
    knowledge: Knowledge, changed: dict[str, Tensor], pictures: Recognised
) -> None:
    own, plain = (
        worst_view_cost(knowledge, changed[name], pictures.labels) for name in (MATCH, "pgd")
    )
    assert success(knowledge, changed[MATCH], pictures) > 0.7
    assert own.median() < plain.median() - 0.5


def test_the_best_of_several_matches_is_no_worse_than_the_first(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    few = Recognised(*(own[:8] for own in pictures))
    several, single = (
        worst_view_cost(
            knowledge,
            run(best_match(knowledge, SETTINGS, seed=3, tried=tried), few),
            few.labels,
        )
        for tried in (3, 1)
    )
    assert (several <= single).all()
    assert (several < single).any()


class Step(NamedTuple):
    """Where an attack on typicality goes from, and what guides it."""

    uphill: Tensor
    of_energy: Tensor
    p_values: Tensor


def step_from(
    knowledge: Knowledge, images: Tensor, labels: Tensor, *, orthogonal: bool = False
) -> Step:
    images = images.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    judge = typical(knowledge, labels, generator, orthogonal=orthogonal)
    requests = knowledge.detector.requests(knowledge.model.outputs(images))
    view = knowledge.detector.views[0]
    squared_distance = view.residuals(requests).squared_distance
    slope = gradient(view.atypicality(squared_distance, requests.groups).sum(), images)
    p_values = view.p_values(squared_distance, requests.groups)
    return Step(judge(images).uphill.flatten(1), slope.flatten(1), p_values)


def test_pictures_that_fool_hide_until_they_look_typical(
    knowledge: Knowledge, pictures: Recognised, changed: dict[str, Tensor]
) -> None:
    fooling = fooling_margin(knowledge.model(changed["pgd"]), pictures.labels) > 0.2
    step = step_from(knowledge, changed["pgd"], pictures.labels)
    rests = (step.uphill == 0).all(dim=1)
    along = torch.cosine_similarity(step.uphill, step.of_energy)
    assert (along[fooling & ~rests] > 0.999).all()
    assert (fooling & ~rests).sum() > 5


def test_pictures_that_fool_and_look_typical_rest(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    """Clean pictures under wrong labels fool by definition; about half reach their goal."""
    step = step_from(knowledge, pictures.images, (pictures.labels + 1) % 18)
    rests = (step.uphill == 0).all(dim=1)
    assert 0.2 < rests.double().mean() < 0.8
    assert step.p_values[rests].mean() > step.p_values[~rests].mean() + 0.1


def test_pictures_that_do_not_fool_go_for_that_first(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    step = step_from(knowledge, pictures.images, pictures.labels)
    moved = pictures.images - 0.004 * step.uphill.reshape(pictures.images.shape).sign()
    before, after = (
        fooling_margin(knowledge.model(images), pictures.labels)
        for images in (pictures.images, moved)
    )
    assert (after > before).double().mean() > 0.9


def test_an_orthogonal_step_leaves_the_other_loss_where_it_is(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    plain, orthogonal = (
        step_from(knowledge, pictures.images, pictures.labels, orthogonal=chosen)
        for chosen in (False, True)
    )
    assert torch.cosine_similarity(plain.uphill, plain.of_energy).abs().median() > 0.05
    assert torch.cosine_similarity(orthogonal.uphill, plain.of_energy).abs().max() < 1e-3


def test_fooling_comes_before_looking_typical(
    knowledge: Knowledge, pictures: Recognised, changed: dict[str, Tensor]
) -> None:
    honest = worst_view_cost(knowledge, pictures.images, pictures.labels)
    fooling = worst_view_cost(knowledge, changed["pgd"], pictures.labels)
    fooled = fooling_margin(knowledge.model(changed["pgd"]), pictures.labels) > 0.2
    assert fooled.any()
    assert fooling[fooled].max() < honest.min()


def test_the_same_seed_gives_the_same_pictures(
    pictures: Recognised, known: Mapping[str, Attack], changed: dict[str, Tensor]
) -> None:
    assert torch.equal(run(known[STATISTIC[1]], pictures), changed[STATISTIC[1]])


@pytest.mark.parametrize("name", [STATISTIC[0], TYPICAL[1]])
def test_a_last_batch_may_hold_a_single_picture(
    pictures: Recognised,
    known: Mapping[str, Attack],
    is_allowed: Callable[[Tensor, Tensor, float], bool],
    name: str,
) -> None:
    few = Recognised(*(own[:5] for own in pictures))
    found = run(known[name], few, AttackSettings(batch_size=2))
    assert is_allowed(found, few.images, SETTINGS.eps)
    assert not torch.equal(found[-1], few.images[-1])


def test_nothing_to_attack_is_not_an_error(
    pictures: Recognised, known: Mapping[str, Attack]
) -> None:
    nothing = Recognised(*(own[:0] for own in pictures))
    assert run(known[TYPICAL[0]], nothing).shape == (0, 3, 32, 32)


def test_the_margin_is_that_of_the_strongest_other_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 4.0, 1.0]])
    assert fooling_margin(logits, torch.tensor([0, 2])).tolist() == [-0.5, 3.0]


def test_pictures_that_the_network_recognises_have_a_negative_margin(
    knowledge: Knowledge, pictures: Recognised
) -> None:
    with torch.no_grad():
        logits = knowledge.model.outputs(pictures.images)[LOGITS]
    assert (fooling_margin(logits, pictures.labels) < 0).all()
