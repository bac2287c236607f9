import numpy as np
import pytest
import torch
from rich.progress import Progress

from producers.signs.attack import Attacked, AttackSettings, Recognised, attack, recognised
from producers.signs.drawing import draw_signs
from producers.signs.errors import AttackError, NetworkError
from producers.signs.network import SignNetwork, classify
from producers.signs.training import fresh_network

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
    assert attacked.fooled.double().mean() > 0.9
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


def test_nothing_to_attack_is_no_error(network: SignNetwork, silent: Progress) -> None:
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
