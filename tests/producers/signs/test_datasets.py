from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from producers.signs.attack import AttackSettings
from producers.signs.datasets import (
    SetSizes,
    attack_name,
    evaluation_arrays,
    save_arrays,
    validation_arrays,
)
from producers.signs.network import SignNetwork

SIZES = SetSizes(baseline=50, clean=40, shifted=30)


def test_all_sets_are_there_with_their_rows(network: SignNetwork, silent: Progress) -> None:
    settings = AttackSettings(steps=3)
    arrays = evaluation_arrays(network, settings, SIZES, seed=1, progress=silent)
    rows = {"baseline": 50, "clean": 40, "pgd_eps03": 30}
    rows |= {"drift_noise": 30, "drift_brightness": 30, "drift_blur": 30}
    layers = ("layer1", "layer3", "layer4", "predicted")
    assert set(arrays) == {f"{name}.{layer}" for name in rows for layer in layers}
    assert all(len(array) == rows[name.split(".")[0]] for name, array in arrays.items())


def test_no_two_sets_hold_the_same_pictures(network: SignNetwork, silent: Progress) -> None:
    settings = AttackSettings(steps=1)
    arrays = evaluation_arrays(network, settings, SIZES, seed=1, progress=silent)
    deep = np.concatenate([rows for name, rows in arrays.items() if name.endswith(".layer3")])
    assert len(np.unique(deep, axis=0)) == len(deep) == 210


def test_validation_rows_are_those_of_the_baseline_set(
    network: SignNetwork, silent: Progress
) -> None:
    settings = AttackSettings(steps=1)
    arrays = evaluation_arrays(network, settings, SIZES, seed=1, progress=silent)
    alone = validation_arrays(network, seed=1, count=50)
    assert all(np.array_equal(rows, arrays[name]) for name, rows in alone.items())


@pytest.mark.parametrize(
    ("eps", "name"), [(0.03, "pgd_eps03"), (0.015, "pgd_eps015"), (0.1, "pgd_eps1")]
)
def test_the_attack_is_named_after_its_eps(eps: float, name: str) -> None:
    assert attack_name(AttackSettings(eps=eps)) == name


def test_files_keep_the_name_they_are_given(tmp_path: Path) -> None:
    save_arrays(tmp_path / "new" / "rows", {"a.b": np.arange(3)})
    with np.load(tmp_path / "new" / "rows") as saved:
        assert saved["a.b"].tolist() == [0, 1, 2]
