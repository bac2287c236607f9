from pathlib import Path

import pytest
import torch
from rich.progress import Progress

from latentwatch.lab.signs.checkpoints import (
    FILE_NAME,
    Manifest,
    checkpoint_path,
    load,
    load_or_train,
)
from latentwatch.lab.signs.errors import NetworkError
from latentwatch.lab.signs.training import TrainingSettings

TINY = TrainingSettings(images=64, epochs=1, batch_size=32)


def test_the_second_time_the_network_comes_from_the_cache(tmp_path: Path, silent: Progress) -> None:
    first, trained = load_or_train(TINY, tmp_path / "new", silent)
    second, trained_again = load_or_train(TINY, tmp_path / "new", silent)
    assert (trained, trained_again) == (True, False)
    weights = second.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first.state_dict().items())
    assert not second.training


def test_other_settings_are_trained_again(tmp_path: Path, silent: Progress) -> None:
    load_or_train(TINY, tmp_path, silent)
    other = TrainingSettings(images=64, epochs=1, batch_size=32, seed=9)
    assert load_or_train(other, tmp_path, silent)[1]


def test_nothing_unfinished_is_left_in_the_cache(tmp_path: Path, silent: Progress) -> None:
    load_or_train(TINY, tmp_path, silent)
    assert list(tmp_path.iterdir()) == [checkpoint_path(TINY, tmp_path)]


def test_a_missing_network_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="run the prepare command first"):
        load(TINY, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no network", b"\x80\x02N."])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, silent: Progress, content: bytes) -> None:
    checkpoint_path(TINY, tmp_path).write_bytes(content)
    with pytest.raises(NetworkError, match="delete it"):
        load_or_train(TINY, tmp_path, silent)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, checkpoint_path(TINY, tmp_path))
    with pytest.raises(NetworkError, match="delete it"):
        load(TINY, tmp_path)


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    manifest = Manifest(TrainingSettings(seed=3, images=500, epochs=1), accuracy=0.875)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"settings": {"colour": 1}}'])
def test_a_folder_without_a_prepared_network_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(NetworkError, match="run the prepare command"):
        Manifest.read(tmp_path)
