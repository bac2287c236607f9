"""Finding baselines: once found they stay, missing ones are looked for again after a while."""

from pathlib import Path
from typing import Any

import pytest

from latentwatch.detector import Baseline
from latentwatch.stream.service.baselines import RETRY_SECONDS, BaselineStore, baseline_url


class Clock:
    """Seconds that pass on demand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> BaselineStore:
    return BaselineStore(str(tmp_path), clock, average_run_length=100_000)


def sha256_of(found: Baseline | None) -> str:
    assert found is not None
    return found.sha256


def test_files_are_named_by_model_and_version() -> None:
    assert baseline_url("/models", "signs", "1.2") == "/models/signs/1.2.safetensors"
    assert baseline_url("s3://bucket/dir/", "a", "b") == "s3://bucket/dir/a/b.safetensors"


def test_a_baseline_is_read_once(tmp_path: Path, store: BaselineStore, traffic: Any) -> None:
    url = baseline_url(str(tmp_path), "signs", "1")
    traffic.baseline.save(url)
    found = store.find("signs", "1")
    assert sha256_of(found) == traffic.baseline.sha256
    Path(url).unlink()
    assert store.find("signs", "1") is found


def test_which_baselines_there_are_is_looked_up_at_most_twice_a_minute(
    tmp_path: Path, store: BaselineStore, clock: Clock
) -> None:
    assert not store.is_known("signs", "1")
    (tmp_path / "signs").mkdir()
    (tmp_path / "signs" / "1.safetensors").touch()
    (tmp_path / "signs" / "2.safetensors.sig").touch()
    assert not store.is_known("signs", "1")
    clock.now += RETRY_SECONDS
    assert store.is_known("signs", "1")
    assert not store.is_known("signs", "2")
    (tmp_path / "signs" / "1.safetensors").unlink()
    assert store.is_known("signs", "1")


def test_a_missing_baseline_is_looked_for_again_after_a_while(
    tmp_path: Path, store: BaselineStore, clock: Clock, traffic: Any
) -> None:
    assert store.find("signs", "1") is None
    traffic.baseline.save(baseline_url(str(tmp_path), "signs", "1"))
    clock.now += RETRY_SECONDS - 0.001
    assert store.find("signs", "1") is None
    clock.now += 0.001
    assert sha256_of(store.find("signs", "1")) == traffic.baseline.sha256


def test_a_baseline_that_is_missing_hides_no_other(
    tmp_path: Path, store: BaselineStore, traffic: Any
) -> None:
    traffic.baseline.save(baseline_url(str(tmp_path), "signs", "1"))
    assert store.find("signs", "2") is None
    assert store.find("faces", "1") is None
    assert store.find("signs", "1") is not None


@pytest.mark.parametrize("damage", ["cut short", "changed", "not one at all", "a folder"])
def test_a_damaged_baseline_is_none_until_it_is_repaired(
    tmp_path: Path, store: BaselineStore, clock: Clock, traffic: Any, damage: str
) -> None:
    path = Path(baseline_url(str(tmp_path), "signs", "1"))
    traffic.baseline.save(str(path))
    sound = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        changed = sound[:-1] + bytes([sound[-1] ^ 1])
        path.write_bytes({"cut short": sound[:-9], "changed": changed}.get(damage, b"nonsense"))
    assert store.find("signs", "1") is None
    if damage == "a folder":
        path.rmdir()
    path.write_bytes(sound)
    assert store.find("signs", "1") is None
    clock.now += RETRY_SECONDS
    assert sha256_of(store.find("signs", "1")) == traffic.baseline.sha256


def test_a_baseline_that_cannot_promise_the_run_length_is_not_used(
    tmp_path: Path, clock: Clock, traffic: Any
) -> None:
    traffic.baseline.save(baseline_url(str(tmp_path), "signs", "1"))
    longest = traffic.baseline.calibration.run_lengths.longest

    def store_of(lanes: int) -> BaselineStore:
        return BaselineStore(str(tmp_path), clock, average_run_length=0.5 * longest, lanes=lanes)

    assert store_of(2).find("signs", "1") is not None
    assert store_of(3).find("signs", "1") is None
