"""What the detector reaches on activations of a real network under real attacks.

The data are no part of the package. `LATENTWATCH_SHARED_DATA` names the folder that holds them;
without it they are looked for beside the repository.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwatch.detector import Baseline, Evaluation, decide, evaluate
from latentwatch.detector.evaluation.sets import split_sets

NAME = "cifar10-activations.npz"
FOLDERS = (
    os.environ.get("LATENTWATCH_SHARED_DATA", ""),
    str(Path(__file__).parents[2].parent / "shared" / "data"),
)
LAYERS = ["layer1", "layer3", "layer4"]

Arrays = dict[str, np.ndarray[Any, Any]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data() -> Arrays:
    for folder in filter(None, FOLDERS):
        path = Path(folder) / NAME
        if path.is_file():
            with np.load(path) as arrays:
                return dict(arrays)
    pytest.skip(f"{NAME} is not here; LATENTWATCH_SHARED_DATA can name its folder")


@pytest.fixture(scope="module")
def penultimate(data: Arrays) -> Evaluation:
    chosen = ("baseline", "clean", "pgd_eps03")
    few = {key: values for key, values in data.items() if key.split(".")[0] in chosen}
    return evaluate(
        few, layers=["layer4"], alpha=0.01, seed=0, windows=1000, measures=["power"],
        simulated_requests=400_000,
    )  # fmt: skip


@pytest.mark.parametrize("mixture", ["32@1.0", "50@1.0", "50@0.3", "100@0.2"])
def test_the_penultimate_layer_sees_projected_gradient_descent(
    penultimate: Evaluation, mixture: str
) -> None:
    assert penultimate.power["pgd_eps03"][mixture] >= 0.90


@pytest.mark.parametrize("mixture", ["200@0.1", "500@0.05"])
def test_long_windows_see_small_shares(penultimate: Evaluation, mixture: str) -> None:
    assert penultimate.power["pgd_eps03"][mixture] >= 0.60


@pytest.mark.parametrize("size", ["32", "50", "100", "200", "500"])
def test_false_alarms_stay_below_two_per_cent_in_windows_of_every_size(
    penultimate: Evaluation, size: str
) -> None:
    assert penultimate.false_alarm[size] <= 0.02


def test_single_requests_of_the_attack_are_separated_from_clean_ones(
    penultimate: Evaluation,
) -> None:
    assert penultimate.auroc["pgd_eps03"] >= 0.85


@pytest.fixture(scope="module")
def judge(data: Arrays) -> Baseline:
    activations, predicted = split_sets(data, LAYERS)["baseline"]
    return Baseline.fit(
        {name: rows[:3000] for name, rows in activations.items()},
        predicted[:3000],
        model="cifar10",
        version="1",
        simulated_requests=200_000,
    )


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("drift_noise", "drift"),
        ("drift_brightness", "drift"),
        ("drift_blur", "drift"),
        ("pgd_eps03", "adversarial"),
        ("pgd_targeted_eps03", "adversarial"),
    ],
)
def test_alarms_name_drift_and_attacks_as_what_they_are(
    data: Arrays, judge: Baseline, name: str, pattern: str
) -> None:
    activations, predicted = split_sets(data, LAYERS)[name]
    features = judge.features(*judge.rows(activations, predicted))
    rng = np.random.default_rng(0)
    windows = [rng.choice(len(features), 100, replace=False) for _ in range(150)]
    decisions = [decide(judge.sketch(features.take(window)), judge) for window in windows]

    named = [decision.pattern for decision in decisions if decision.p_value <= 0.01]

    assert len(named) >= 50
    assert named.count(pattern) >= 0.9 * len(named)


def test_typicality_of_clean_images_is_uniform(data: Arrays, judge: Baseline) -> None:
    p_values = judge.score(*split_sets(data, LAYERS)["clean"])

    for level in (0.01, 0.05, 0.1, 0.3, 0.5, 0.8):
        spread = np.sqrt(level * (1 - level) * (1 / judge.fitted_rows + 1 / len(p_values)))
        assert np.mean(p_values <= level) == pytest.approx(level, abs=4 * spread)
