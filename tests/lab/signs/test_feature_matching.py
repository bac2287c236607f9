from collections.abc import Callable

import pytest
import torch
from rich.progress import Progress
from torch import Tensor

from latentwatch.chaos.traffic.seeds import derived_seed
from latentwatch.lab.signs.adaptive import Knowledge
from latentwatch.lab.signs.attack import Attacked, AttackSettings, Recognised
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.errors import AttackError
from latentwatch.lab.signs.feature_matching import (
    GUIDES,
    chosen_guides,
    guides,
    match_features,
    matching,
)
from latentwatch.lab.signs.network import STAGES, SignNetwork, classify

SETTINGS = AttackSettings(eps=0.03, steps=15, batch_size=20)


@pytest.fixture(scope="module")
def pool() -> Recognised:
    """Guides without a network: drawings and their labels."""
    return Recognised(*draw_signs(100, seed=3), torch.arange(100))


def run(model: SignNetwork, target: Recognised, seed: int = 1) -> Attacked:
    progress = Progress(disable=True)
    return match_features(
        model, target.images, target.labels, SETTINGS, seed=seed, progress=progress
    )


@pytest.fixture(scope="module")
def found(knowledge: Knowledge, pictures: Recognised) -> Attacked:
    return run(knowledge.model, pictures)


def distances(model: SignNetwork, pictures: Tensor, others: Tensor) -> Tensor:
    with torch.no_grad():
        first, second = (model.outputs(own)[STAGES[-1]] for own in (pictures, others))
    return (first - second).square().sum(dim=1)


def test_activations_come_close_to_those_of_the_guides(
    network: SignNetwork, pictures: Recognised, found: Attacked
) -> None:
    pool, seed = guides(network, seed=1), derived_seed(1, "feature matching")
    count = SETTINGS.batch_size
    generator = torch.Generator().manual_seed(seed)
    chosen = chosen_guides(pool, pictures.labels[:count], generator)
    before = distances(network, pictures.images[:count], chosen)
    after = distances(network, found.images[:count], chosen)
    assert (after < before).all()
    assert (after / before).median() < 0.5


def test_pictures_stay_in_the_ball_and_8_bit(
    pictures: Recognised,
    found: Attacked,
    is_allowed: Callable[[Tensor, Tensor, float], bool],
) -> None:
    assert is_allowed(found.images, pictures.images, SETTINGS.eps)


def test_most_pictures_fool_the_network(
    network: SignNetwork, pictures: Recognised, found: Attacked
) -> None:
    assert found.fooled.double().mean() > 0.5
    assert torch.equal(found.fooled, classify(network, found.images) != pictures.labels)


def test_the_same_seed_gives_the_same_pictures(
    network: SignNetwork, pictures: Recognised, found: Attacked
) -> None:
    again, other = (run(network, pictures, seed).images for seed in (1, 2))
    assert torch.equal(found.images, again)
    assert not torch.equal(found.images, other)


def test_nothing_to_attack_is_not_an_error(network: SignNetwork) -> None:
    images, labels = draw_signs(0, seed=1)
    nothing = run(network, Recognised(images, labels, labels))
    assert nothing.images.shape == (0, 3, 32, 32)
    assert nothing.fooled.shape == (0,)


def test_guides_are_recognised_and_of_many_classes(network: SignNetwork) -> None:
    pool = guides(network, seed=1)
    assert len(pool.labels) == GUIDES
    assert torch.equal(classify(network, pool.images), pool.labels)
    assert len(pool.labels.unique()) > 5


def test_a_guide_is_never_of_the_own_class(pool: Recognised) -> None:
    labels = torch.arange(18).repeat(20)
    chosen = chosen_guides(pool, labels, torch.Generator().manual_seed(1))
    place = (chosen[:, None] == pool.images[None]).flatten(2).all(dim=2).double().argmax(dim=1)
    assert torch.equal(chosen, pool.images[place])
    assert (pool.labels[place] != labels).all()
    assert len(place.unique()) > 80


def test_guides_of_a_single_class_are_no_use(pool: Recognised) -> None:
    same = Recognised(pool.images, torch.full_like(pool.labels, 4), pool.indices)
    with pytest.raises(AttackError, match="only one class"):
        chosen_guides(same, torch.tensor([3, 4]), torch.Generator())


def test_the_cost_is_the_distance_to_the_guides(network: SignNetwork, pool: Recognised) -> None:
    judge = matching(network, pool.images[:4])
    others = pool.images[4:8].clone().requires_grad_()
    expected = distances(network, pool.images[4:8], pool.images[:4])
    assert torch.allclose(judge(others).cost, expected)
    assert torch.all(judge(pool.images[:4].clone().requires_grad_()).cost == 0)
