"""Feature maps with torch: the decisions are those of numpy, within a stated tolerance."""

import pickle

import numpy as np
import pytest
import torch

from latentwatch.detector import Baseline, Decision, Monitor
from latentwatch.detector.features import GRID
from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.service.accelerated import accelerated, chosen_device
from latentwatch.stream.service.baselines import BaselineStore, baseline_url
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
    theirs = accelerated(baseline, torch.device(device)).features(rows, predicted)

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
    moved = accelerated(baseline, torch.device(device))
    rows, predicted = baseline.rows(*draw(700, 2))
    whole = moved.features(rows, predicted)
    for start, end in ((0, 1), (1, 130), (130, 131), (131, 700)):
        part = moved.features(rows[start:end], predicted[start:end], start % 128)
        assert np.array_equal(part.psi, whole.psi[start:end])
        assert np.array_equal(part.squared_distance, whole.squared_distance[start:end])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_decisions_are_those_of_numpy(baseline: Baseline, device: str, shift: float) -> None:
    def decided(judge: Baseline) -> list[Decision]:
        monitor = Monitor(judge, average_run_length=50_000)
        clean = monitor.update(*draw(2_000, 3))
        return clean + monitor.update(*draw(640, 4, shift))

    ours, theirs = decided(baseline), decided(accelerated(baseline, torch.device(device)))
    assert [d.alarm for d in ours] == [d.alarm for d in theirs]
    assert any(d.alarm for d in ours) == bool(shift)
    scores = np.array([[d.score for d in side] for side in (ours, theirs)])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_other_processes_get_it_whole(baseline: Baseline, device: str) -> None:
    moved = accelerated(baseline, torch.device(device))
    there = pickle.loads(pickle.dumps(moved))
    rows, predicted = baseline.rows(*draw(300, 5))
    assert there.elsewhere is not None
    assert np.array_equal(there.features(rows, predicted).psi, moved.features(rows, predicted).psi)


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
    theirs = accelerated(single, torch.device("cpu")).features(rows, predicted)
    assert np.abs(single.features(rows, predicted).psi.astype(int) - theirs.psi).max() <= 1


def test_the_setting_chooses(baseline: Baseline, tmp_path, monkeypatch) -> None:
    baseline.save(baseline_url(str(tmp_path), "m", "1"))
    assert chosen_device("cpu") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert chosen_device("auto") is None
    with pytest.raises(SettingsError, match="'cuda:1', and torch sees 0 such devices"):
        chosen_device("cuda:1")
    with pytest.raises(SettingsError, match="set it to auto"):
        BaselineStore.of(Settings(feature_device="cuda"), lambda: 0.0)
    settings = Settings(feature_device="auto", baselines=str(tmp_path), average_run_length=10_000)
    found = BaselineStore.of(settings, lambda: 0.0).find("m", "1")
    assert found is not None
    assert found.elsewhere is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert chosen_device("auto") == torch.device("cuda")
    assert chosen_device("cuda:0") == torch.device("cuda:0")


def test_other_places_are_refused() -> None:
    with pytest.raises(SettingsError, match="feature_device"):
        Settings(feature_device="gpu")
