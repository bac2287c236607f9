import pytest
import torch
from rich.progress import Progress

from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.network import SignNetwork
from latentwatch.lab.signs.training import TrainingSettings, accuracy, fresh_network, train

TINY = TrainingSettings(images=64, epochs=1, batch_size=32)


def test_a_small_training_learns_far_more_than_chance(network: SignNetwork) -> None:
    assert accuracy(network, seed=0, count=512) > 0.5


def test_the_same_settings_train_the_same_weights(silent: Progress) -> None:
    first, second = train(TINY, silent).state_dict(), train(TINY, silent).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_trains_other_weights() -> None:
    first, second = fresh_network(1).state_dict(), fresh_network(2).state_dict()
    assert not torch.equal(first["stem.0.weight"], second["stem.0.weight"])


def test_training_leaves_the_global_random_state_alone(silent: Progress) -> None:
    before = torch.get_rng_state()
    train(TINY, silent)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("images", [32, 64, 128, 160])
def test_even_a_few_steps_can_be_trained(images: int, silent: Progress) -> None:
    model = train(TrainingSettings(images=images, epochs=1, batch_size=32), silent)
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_training_returns_a_network_in_evaluation_mode(silent: Progress) -> None:
    assert not train(TINY, silent).training


def test_progress_shows_every_step_with_loss_and_accuracy() -> None:
    progress = Progress(disable=True)
    train(TINY, progress)
    drawing, training = progress.tasks
    assert (drawing.completed, drawing.total) == (64, 64)
    assert (training.completed, training.total) == (2, 2)
    assert "loss" in training.description
    assert "accuracy" in training.description


def test_every_setting_changes_the_key() -> None:
    variants = [
        TINY,
        TrainingSettings(images=65, epochs=1, batch_size=32),
        TrainingSettings(images=64, epochs=2, batch_size=32),
        TrainingSettings(images=64, epochs=1, batch_size=16),
        TrainingSettings(images=64, epochs=1, batch_size=32, seed=1),
        TrainingSettings(images=64, epochs=1, batch_size=32, learning_rate=0.1),
    ]
    assert len({settings.key for settings in variants}) == len(variants)
    assert TINY.key == TrainingSettings(images=64, epochs=1, batch_size=32).key


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"epochs": 0}, {"images": 10}, {"images": 1, "batch_size": 1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(NetworkError, match="cannot train"):
        TrainingSettings(**wrong)
