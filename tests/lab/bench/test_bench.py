"""The benchmarks run to their end and give figures; what they are is for people to judge."""

from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from latentwatch.lab.bench.core import core
from latentwatch.lab.bench.device import device
from latentwatch.lab.bench.kafka import replaying
from latentwatch.lab.bench.machine import machine
from latentwatch.lab.bench.merging import merging
from latentwatch.lab.bench.recordings import offline, recording
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.lab.bench.worker import state
from latentwatch.stream.cli.main import main

SMALL = {"simulated_requests": 20_000, "random_features": 64}


def quiet(_: str) -> None:
    """Say nothing."""


def test_recording_and_reading_are_measured(tmp_path: Path) -> None:
    found = recording(tmp_path, quiet, count=40)
    assert set(found) == {
        "recorded_per_core_second_cold",
        "recorded_per_core_second_warm",
        "bytes_per_request",
        "read_per_core_second",
    }
    assert 200 < found["bytes_per_request"] < 2_000
    assert min(found.values()) > 0


def test_offline_decisions_are_measured(tmp_path: Path) -> None:
    found = offline(tmp_path, quiet, count=20, random_features=[64])
    assert set(found) == {
        "decided_per_second_one_thread_64_features",
        "decided_per_second_all_cores_64_features",
    }
    assert min(found.values()) > 100


def test_feature_maps_elsewhere_are_measured(tmp_path: Path) -> None:
    found = device(tmp_path, quiet, "cpu", requests=300, widths=(32,), **SMALL)
    assert found["largest_grid_steps_apart_width_32"] <= 1
    assert len(found) == 3 + 2 * 2 * 2
    assert found["features_device_microseconds_width_32_batch_128"] > 0


@pytest.mark.broker
def test_replay_recorder_and_worker_are_measured_on_a_real_broker(tmp_path: Path) -> None:
    found = replaying(tmp_path, quiet, count=600)
    assert found["taken_by_worker_per_second"] > 100
    assert found["replayed_per_second"] > 100
    assert found["recorded_per_second"] > 100


def test_figures_name_their_machine(tmp_path: Path) -> None:
    found = machine()
    assert {"processor", "cores", "python", "numpy"} <= set(found)
    assert orjson.loads(orjson.dumps(found)) == found


def test_unknown_benchmarks_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bench", "nonsense"])
    assert result.exit_code == 2
    assert "recording, offline, state, merging, device, replaying" in result.stderr


def test_traffic_is_the_same_each_time_and_its_ids_differ() -> None:
    first, again = (list(BenchTraffic(width=32, rows=8).batches(3)) for _ in range(2))
    assert len({name for batch in first for name in batch.request_ids}) == 24
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.activations["layer4"], other.activations["layer4"])
        assert one.request_ids == other.request_ids


def test_the_core_is_compared_with_its_own_products(tmp_path: Path) -> None:
    small = {"simulated_requests": 20_000, "random_features": 32}
    found = core(tmp_path, quiet, requests=256, widths=(16,), **small)
    assert set(found) == {
        "products_microseconds_width_16",
        *(f"core_microseconds_width_16_batch_{batch}" for batch in (64, 128, 256)),
        *(f"core_to_products_width_16_batch_{batch}" for batch in (64, 128, 256)),
    }
    assert min(found.values()) > 0


def test_a_state_grows_with_its_layers(tmp_path: Path) -> None:
    found = state(tmp_path, quiet, rows=1_280, layers=(1, 2))
    assert 0 < found["state_bytes_1_layers"] < found["state_bytes_2_layers"] < 1 << 20


def test_hours_of_many_lanes_are_added_up_in_any_order(tmp_path: Path) -> None:
    found = merging(tmp_path, quiet, lanes=(1, 40), random_features=32, simulated_requests=20_000)
    assert (found["levels_1_lanes"], found["levels_40_lanes"]) == (0, 2)
    assert found["part_bytes_40_lanes"] > 500
    assert min(found["milliseconds_a_part_40_lanes"], found["part_bytes_1_lanes"]) > 0
