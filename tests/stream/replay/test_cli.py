"""The command on a recording, without a broker: parts, other baselines, and wrong usage."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from latentwatch.stream.cli.main import main
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.service.baselines import baseline_url

RUN_LENGTH = ("--average-run-length", "100000")


@pytest.fixture(scope="module")
def folder(traffic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of two hours, the second one attacked, and the baseline of its model."""
    folder = tmp_path_factory.mktemp("replay")
    traffic.baseline.save(baseline_url(str(folder / "baselines"), "signs", "1"))
    writer = RecordingWriter(
        RecordingFiles(str(folder / "recording")), most_bytes=10**9, most_seconds=1e9
    )
    for number in range(12):
        first = traffic.start_ns + (number // 6) * HOUR_NS + number * 10**9
        scale = 4.0 if number >= 6 else 1.0
        batch = traffic.batch(number, 32, scale=scale, times_ns=range(first, first + 32))
        writer.add(RecordedMessage(0, number, batch), 0.0)
    writer.flush_all()
    return folder


def run(folder: Path, *words: str) -> Result:
    settings = {"LATENTWATCH_BASELINES": str(folder / "baselines")}
    return CliRunner(env=settings).invoke(main, ["replay", str(folder / "recording"), *words])


def found(folder: Path, *words: str) -> dict[str, Any]:
    result = run(folder, "--offline", "--json", *words)
    assert result.exit_code == 0, result.output
    values: dict[str, Any] = orjson.loads(result.stdout)
    return values


def test_hours_and_alerts_are_shown(folder: Path) -> None:
    result = run(folder, "--offline", *RUN_LENGTH)
    assert result.exit_code == 0, result.output
    assert "signs/1" in result.stdout
    assert "adversarial" in result.stdout


def test_a_part_by_time_or_by_request_is_decided_alone(folder: Path) -> None:
    quiet = found(folder, *RUN_LENGTH, "--until", "2024-10-04T01")
    assert {row["requests"] for row in quiet["rates"]} == {6 * 32}
    assert quiet["alerts"] == []
    few = found(folder, *RUN_LENGTH, "--request-id", "3-1", "--request-id", "7-31")
    assert {(row["hour"], row["requests"]) for row in few["rates"]} == {
        ("2024-10-04T00:00:00Z", 1),
        ("2024-10-04T01:00:00Z", 1),
    }


def test_another_baseline_can_be_tried(folder: Path, traffic: Any) -> None:
    other = str(folder / "other.safetensors")
    traffic.other_baseline.save(other)
    tried = found(folder, *RUN_LENGTH, "--baseline", other)
    assert {row["baseline_sha256"] for row in tried["rates"]} == {traffic.other_baseline.sha256}
    assert tried["alerts"]


def test_other_layers_can_be_tried_with_a_fresh_fit(folder: Path, traffic: Any) -> None:
    rows = traffic.draw(1200, np.random.default_rng(4))
    arrays = {**rows["activations"], "predicted": rows["predicted"]}
    np.savez(folder / "validation.npz", **arrays)
    tried = found(
        folder, *RUN_LENGTH, "--fit-on", str(folder / "validation.npz"), "--layers", "deep"
    )
    assert {row["layer"] for row in tried["rates"]} == {"deep", "agreement"}
    assert tried["alerts"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--baseline", "x"), "need --offline"),
        (("--average-run-length", "1000"), "need --offline"),
        (("--offline", "--layers", "deep"), "--layers needs --fit-on"),
        (("--offline", "--fit-on", "a.npz", "--baseline", "b"), "exclude each other"),
        (("--speed", "fast"), "write a number above 0"),
        (("--speed", "0"), "write a number above 0"),
        (("--since", "yesterday"), "2026-01-05T10"),
    ],
)
def test_wrong_usage_says_what_to_write(folder: Path, words: tuple[str, ...], says: str) -> None:
    result = run(folder, *words)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "other"), "it holds signs/1"),
        (("--until", "2020-01-01"), "it holds signs/1"),
        (("--baseline", "nowhere.safetensors"), "nowhere.safetensors"),
    ],
)
def test_what_is_not_there_is_named(folder: Path, words: tuple[str, ...], says: str) -> None:
    result = run(folder, "--offline", *words)
    assert result.exit_code == 1
    assert says in result.stderr
