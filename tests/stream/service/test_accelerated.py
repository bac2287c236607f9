"""Feature maps with torch: the decisions are those of numpy, within a stated tolerance."""

import pickle

import numpy as np
import pytest
import torch

from latentwatch.detector import Baseline, Decision, Monitor
from latentwatch.detector.features import GRID
from latentwatch.detector.featuriser import NUMPY, Featuriser
from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.service.accelerated import TorchFeaturiser, chosen_device
from latentwatch.stream.service.baselines import featuriser_of
from latentwatch.stream.settings import Settings

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
    ),
]
CLASSES = 5
CENTRES = np.random.default_rng(7).standard_normal((CLASSES, 60))


def draw(count: int, seed: int, shift: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, CLASSES, count)
    rows = CENTRES[predicted] + rng.standard_normal((count, 60)) + shift
    return {"early": rows[:, :20], "deep": rows[:, 20:].astype(np.float16)}, predicted


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return Baseline.fit(
        *draw(2_000, 0),
        model="m",
        version="1",
        longest_window=128,
        random_features=128,
        simulated_requests=100_000,
    )


@pytest.mark.parametrize("device", DEVICES)
def test_residuals_are_those_of_numpy_to_a_grid_step(baseline: Baseline, device: str) -> None:
    rows, predicted = baseline.rows(*draw(1_000, 1))
    rows[0] = 3e38
    rows[1] = 1e-42
    ours = baseline.features(rows, predicted)
    theirs = baseline.features(rows, predicted, 0, TorchFeaturiser(torch.device(device)))

    assert theirs.psi.dtype == np.int16
    assert theirs.squared_distance.dtype == np.float32
    off = np.abs(ours.psi.astype(int) - theirs.psi)
    assert off.max() <= 1
    assert (off == 0).mean() > 0.99
    np.testing.assert_allclose(theirs.squared_distance, ours.squared_distance, rtol=1e-3)
    exact = theirs.psi[:, baseline.views[0].slice].astype(np.int64)
    assert np.array_equal((exact**2).sum(axis=1), theirs.lengths[:, 0])
    assert np.abs(exact).max() <= baseline.views[0].map.radius * GRID + 1


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_has_the_same_bits_whatever_the_batches(baseline: Baseline, device: str) -> None:
    featuriser = TorchFeaturiser(torch.device(device))
    rows, predicted = baseline.rows(*draw(700, 2))
    whole = baseline.features(rows, predicted, 0, featuriser)
    for start, end in ((0, 1), (1, 130), (130, 131), (131, 700)):
        part = baseline.features(rows[start:end], predicted[start:end], start % 128, featuriser)
        assert np.array_equal(part.psi, whole.psi[start:end])
        assert np.array_equal(part.squared_distance, whole.squared_distance[start:end])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_decisions_are_those_of_numpy(baseline: Baseline, device: str, shift: float) -> None:
    def decided(featuriser: Featuriser) -> list[Decision]:
        monitor = Monitor(baseline, average_run_length=50_000, featuriser=featuriser)
        clean = monitor.update(*draw(2_000, 3))
        return clean + monitor.update(*draw(640, 4, shift))

    ours, theirs = decided(NUMPY), decided(TorchFeaturiser(torch.device(device)))
    assert [d.alarm for d in ours] == [d.alarm for d in theirs]
    assert any(d.alarm for d in ours) == bool(shift)
    scores = np.array([[d.score for d in side] for side in (ours, theirs)])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_other_processes_get_it_whole(baseline: Baseline, device: str) -> None:
    here = TorchFeaturiser(torch.device(device))
    there, copy = pickle.loads(pickle.dumps((here, baseline)))
    rows, predicted = baseline.rows(*draw(300, 5))
    ours = baseline.features(rows, predicted, 0, here)
    assert there.device == here.device
    assert np.array_equal(copy.features(rows, predicted, 0, there).psi, ours.psi)


def test_with_a_single_class_it_agrees_as_well() -> None:
    rng = np.random.default_rng(0)
    single = Baseline.fit(
        {"deep": rng.standard_normal((400, 6))},
        np.zeros(400, dtype=int),
        model="m",
        version="1",
        longest_window=64,
        random_features=64,
        simulated_requests=50_000,
    )
    rows, predicted = single.rows({"deep": rng.standard_normal((64, 6))}, np.zeros(64, dtype=int))
    theirs = single.features(rows, predicted, 0, TorchFeaturiser(torch.device("cpu")))
    assert np.abs(single.features(rows, predicted).psi.astype(int) - theirs.psi).max() <= 1


def test_the_setting_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_device("cpu") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert chosen_device("auto") is None
    with pytest.raises(SettingsError, match="'cuda:1', and torch sees 0 such devices"):
        chosen_device("cuda:1")
    with pytest.raises(SettingsError, match="set it to auto"):
        featuriser_of("cuda")
    assert featuriser_of(Settings(feature_device="auto").feature_device) is NUMPY
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert chosen_device("auto") == torch.device("cuda")
    assert chosen_device("cuda:0") == torch.device("cuda:0")


def test_other_places_are_refused() -> None:
    with pytest.raises(SettingsError, match="feature_device"):
        Settings(feature_device="gpu")
