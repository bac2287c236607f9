import numpy as np
import pytest
import torch
from rich.progress import Progress

from latentwatch.lab.signs.attack import (
    Attacked,
    AttackSettings,
    Method,
    Recognised,
    attack,
    other_classes,
    recognised,
)
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.errors import AttackError, NetworkError
from latentwatch.lab.signs.network import SignNetwork, classify
from latentwatch.lab.signs.training import fresh_network

EPS = 0.03
SETTINGS = AttackSettings(eps=EPS, steps=10, batch_size=16)


@pytest.fixture
def target(network: SignNetwork) -> Recognised:
    return recognised(network, 40, seed=11)


def run(network: SignNetwork, target: Recognised, seed: int = 1) -> Attacked:
    progress = Progress(disable=True)
    return attack(network, target.images, target.labels, SETTINGS, seed=seed, progress=progress)


def test_the_attack_fools_the_network(network: SignNetwork, target: Recognised) -> None:
    attacked = run(network, target)
    assert attacked.fooled.double().mean() >= 0.85
    assert torch.equal(attacked.fooled, classify(network, attacked.images) != target.labels)


def test_no_pixel_moves_further_than_eps_and_all_stay_8_bit(
    network: SignNetwork, target: Recognised
) -> None:
    images = run(network, target).images
    assert (images.double() - target.images.double()).abs().max() <= EPS
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, (images * 255).round() / 255)
    assert not torch.equal(images, target.images)


def test_the_network_is_left_as_it_was(network: SignNetwork, target: Recognised) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run(network, target)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training


def test_the_same_seed_gives_the_same_attack(network: SignNetwork, target: Recognised) -> None:
    first, second, other = (run(network, target, seed).images for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_global_random_states_are_restored(network: SignNetwork, target: Recognised) -> None:
    numpy_before, torch_before = repr(np.random.get_state(legacy=False)), torch.get_rng_state()
    run(network, target)
    assert repr(np.random.get_state(legacy=False)) == numpy_before
    assert torch.equal(torch.get_rng_state(), torch_before)


def reaches(network: SignNetwork, target: Recognised, method: Method, steps: int) -> Attacked:
    settings = AttackSettings(eps=EPS, steps=steps, batch_size=16, method=method)
    progress = Progress(disable=True)
    return attack(network, target.images, target.labels, settings, seed=1, progress=progress)


def test_a_single_step_goes_to_the_edge_of_the_ball(
    network: SignNetwork, target: Recognised
) -> None:
    attacked = reaches(network, target, "fgsm", steps=10)
    moved = (attacked.images - target.images).abs() * 255
    inside = (attacked.images > 0) & (attacked.images < 1)
    assert (moved[inside].round() == 7).double().mean() > 0.99  # of 1/255; 0.03 allows no more
    assert attacked.fooled.double().mean() > 0.3


def test_a_targeted_attack_arrives_at_the_class_it_wants(
    network: SignNetwork, target: Recognised
) -> None:
    wanted = other_classes(target.labels, seed=1)
    aimed, away = (
        classify(network, reaches(network, target, method, steps=20).images) == wanted
        for method in ("pgd_targeted", "pgd")
    )
    assert aimed.double().mean() > 0.4
    assert away.double().mean() < 0.25


def test_wanted_classes_are_other_ones_and_of_all_kinds() -> None:
    labels = torch.arange(18).repeat(50)
    wanted = other_classes(labels, seed=1)
    assert (wanted != labels).all()
    assert len(((wanted - labels) % 18).unique()) == 17
    assert torch.equal(wanted, other_classes(labels, seed=1))
    assert not torch.equal(wanted, other_classes(labels, seed=2))


def test_nothing_to_attack_is_not_an_error(network: SignNetwork, silent: Progress) -> None:
    images, labels = draw_signs(0, seed=1)
    attacked = attack(network, images, labels, SETTINGS, seed=1, progress=silent)
    assert attacked.images.shape == images.shape
    assert attacked.fooled.shape == (0,)


def test_recognised_drawings_are_the_first_ones_classified_correctly(network: SignNetwork) -> None:
    found = recognised(network, 25, seed=4)
    images, labels = draw_signs(200, seed=4)
    right = (classify(network, images) == labels).nonzero().flatten()[:25]
    assert torch.equal(found.indices, right)
    assert torch.equal(found.images, images[right])
    assert torch.equal(found.labels, labels[right])


def test_none_may_be_asked_for(network: SignNetwork) -> None:
    assert len(recognised(network, 0, seed=4).labels) == 0


def test_a_network_that_recognises_nothing_cannot_be_attacked() -> None:
    with pytest.raises(NetworkError, match="too few to attack"):
        recognised(fresh_network(0), 400, seed=4)


@pytest.mark.parametrize("wrong", [{"eps": 0.003}, {"eps": 1.5}, {"steps": 0}, {"batch_size": 0}])
def test_impossible_settings_of_the_attack_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(AttackError, match="cannot attack"):
        AttackSettings(**wrong)  # type: ignore[arg-type]
