"""An hour as a violations file: what the worker's hourly decision flags, and nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import Result

from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.rates import RateAggregator
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import RecordedMessage
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter

Run = Callable[..., Result]

CHECK_TYPES = {
    "data_type_check",
    "completeness_check",
    "baseline_drift_check",
    "missing_column_check",
    "extra_column_check",
    "categorical_values_check",
}
"""What Model Monitor documents for `constraint_check_type`."""

CLEAN, ATTACKED = "2024-10-04T00", "2024-10-04T01"  # the hours 480,000 and 480,001 since 1970


def messages_of(traffic: Any) -> list[RecordedMessage]:
    """Two partitions, two hours; in the second one a quarter of the messages is an attack."""
    found = []
    for number in range(40):
        hour, partition = number // 20, number % 2
        first = traffic.start_ns + hour * HOUR_NS + (number % 20) * 60 * 10**9
        scale = 4.0 if hour and number % 4 == 1 else 1.0
        times = range(first, first + 16)
        batch = traffic.batch(number, scale=scale, times_ns=times)
        found.append(RecordedMessage(partition, number // 2, batch))
    return found


def record(url: Path, messages: list[RecordedMessage]) -> Path:
    writer = RecordingWriter(RecordingFiles(str(url)), most_bytes=2**30, most_seconds=1e9)
    for message in messages:
        writer.add(message, now=0.0)
    writer.flush_all()
    return url


@pytest.fixture(scope="session")
def recording(traffic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("hours") / "recording", messages_of(traffic))


@pytest.fixture(scope="session")
def baseline_file(traffic: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baselines") / "1.safetensors"
    traffic.baseline.save(str(path))
    return path


@pytest.fixture
def export(run: Run, recording: Path, baseline_file: Path, tmp_path: Path) -> Run:
    """Export an hour of the recording at a level that the small baseline has p-values for."""

    def export(hour: str, *options: str | Path, url: Path = recording) -> Result:
        fixed = ("--hour", hour, "--baseline", baseline_file, "--out", tmp_path / "v.json")
        return run("export", "violations", url, *fixed, "--level", "0.01", *options)

    return export


def read(tmp_path: Path) -> list[dict[str, str]]:
    found = orjson.loads((tmp_path / "v.json").read_bytes())
    assert list(found) == ["violations"]
    return found["violations"]


def requests_in(violations: list[dict[str, str]]) -> set[str]:
    found = [re.match(r"Request (\S+): p-value", one["description"]) for one in violations]
    return {one[1] for one in found if one}


def test_a_clean_hour_has_no_violations(export: Run, tmp_path: Path) -> None:
    """The original lists the ten most suspicious requests of every hour."""
    result = export(CLEAN)
    assert result.exit_code == 0, result.output
    assert "320 requests, 320 of them distinct: 0 layers and 0 requests" in result.stdout
    assert read(tmp_path) == []


def test_an_attacked_hour_lists_what_the_workers_flag(
    export: Run, traffic: Any, tmp_path: Path
) -> None:
    """Two workers, a partition each, judge the same messages as they come."""
    baseline = traffic.baseline
    book = RateAggregator(lambda _model, _version: baseline, 0.1, 48)
    lanes = [
        Lane(LaneKey("signs", "1", p), baseline, Policy(100_000, allowed_lateness_ns=0))
        for p in (0, 1)
    ]
    parts: list[Any] = []
    for message in messages_of(traffic):
        parts += lanes[message.partition].take(message.batch, message.offset)
    parts += lanes[0].close() + lanes[1].close()
    reports = [book.add(part) for part in parts if getattr(part, "hour", 0) == traffic.hour + 1]
    flagged: set[str] = set()
    for report in reports:
        assert report is not None
        for request in report.flagged:
            now = request.status == "flagged"
            (flagged.add if now else flagged.discard)(request.request_id)
    rates = reports[-1].rates  # type: ignore[union-attr]

    assert export(ATTACKED).exit_code == 0
    violations = read(tmp_path)
    assert requests_in(violations) == flagged
    assert len(flagged) > 20
    listed = {one["feature_name"] for one in violations if "drift distance" in one["description"]}
    expected = {rate.layer for rate in rates if rate.p_value is not None and rate.p_value <= 0.01}
    assert listed == expected >= {"deep"}
    assert len(violations) == len(flagged) + len(listed)


def test_violations_have_the_form_that_model_monitor_documents(export: Run, tmp_path: Path) -> None:
    assert export(ATTACKED).exit_code == 0
    violations = read(tmp_path)
    for one in violations:
        assert list(one) == ["feature_name", "constraint_check_type", "description"]
        assert set(map(type, one.values())) == {str}
        assert one["constraint_check_type"] in CHECK_TYPES
    layers = [one for one in violations if not one["description"].startswith("Request")]
    for one in layers:
        # as jobs that read such files look for it
        found = re.search(r"distance: ([\d.]+) exceeds threshold: ([\d.]+)\.", one["description"])
        assert found is not None
        assert float(found[1]) > float(found[2]) > 0
        assert "320 distinct requests: p-value 0.0" in one["description"]
    (one, *_) = [one for one in violations if one["description"].startswith("Request")]
    assert one["feature_name"] == "deep"
    for text in ("predicted class", "partition", "offset", "false discovery rate of 0.1"):
        assert text in one["description"]
    assert any("input file:///sign.png" in one["description"] for one in violations)


def test_a_repeated_request_is_listed_once(
    export: Run, traffic: Any, run: Run, tmp_path: Path
) -> None:
    """Repeats of an hour before count as well: they are one request of that hour."""
    first = traffic.start_ns + 2 * HOUR_NS - 32
    attack = traffic.batch(1, scale=4.0, times_ns=range(first, first + 16))
    again = traffic.batch(1, scale=4.0, times_ns=range(first + 32, first + 48))
    again = replace(again, request_ids=[f"again-{i}" for i in range(16)])
    clean = [
        traffic.batch(n, times_ns=range(first + 50 + n, first + 66 + n)) for n in range(10, 20)
    ]
    batches = [attack, again, *clean]
    messages = [RecordedMessage(0, offset, batch) for offset, batch in enumerate(batches)]
    url = record(tmp_path / "repeats", messages)
    result = export("2024-10-04T02", url=url)
    assert result.exit_code == 0, result.output
    assert "176 requests, 160 of them distinct" in result.stdout
    assert requests_in(read(tmp_path)) == set()


def test_all_flagged_requests_are_listed_however_many(
    export: Run, traffic: Any, tmp_path: Path
) -> None:
    """More than a sketch has names for."""
    messages = [
        RecordedMessage(
            0,
            number,
            traffic.batch(
                1000 + number,
                64,
                scale=6.0,
                times_ns=range(traffic.start_ns + number * 64, traffic.start_ns + number * 64 + 64),
            ),
        )
        for number in range(20)
    ]
    result = export(CLEAN, url=record(tmp_path / "many", messages))
    assert result.exit_code == 0, result.output
    listed = requests_in(read(tmp_path))
    assert len(listed) > 1024
    assert f"and {len(listed):,} requests in" in result.stdout


def test_rows_that_the_worker_would_refuse_are_reported_and_left_out(
    export: Run, traffic: Any, tmp_path: Path
) -> None:
    messages = messages_of(traffic)
    strange = messages[3].batch
    strange = replace(strange, predicted=np.full(len(strange), 9, dtype=np.int32))
    messages[3] = messages[3]._replace(batch=strange)
    result = export(CLEAN, url=record(tmp_path / "strange", messages))
    assert result.exit_code == 0, result.output
    assert "304 requests" in result.stdout
    assert "16 requests were left out, as a worker refuses them: predicted class 9" in result.stderr


def test_an_hour_of_very_few_requests_lists_no_layer(
    export: Run, traffic: Any, tmp_path: Path
) -> None:
    message = RecordedMessage(0, 0, traffic.batch(0, rows=4, scale=9.0))
    result = export(CLEAN, url=record(tmp_path / "few", [message]))
    assert result.exit_code == 0, result.output
    assert "too few requests for a decision" in result.stderr
    assert not [one for one in read(tmp_path) if "drift distance" in one["description"]]


def test_a_file_that_is_there_is_replaced_only_by_force(export: Run, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("mine")
    refused = export(CLEAN)
    assert refused.exit_code == 1
    assert "v.json already exists; --force replaces it" in refused.stderr
    assert (tmp_path / "v.json").read_text() == "mine"
    assert export(CLEAN, "--force").exit_code == 0
    assert read(tmp_path) == []


@pytest.mark.parametrize(
    ("hour", "options", "text"),
    [
        ("2024-10-04T05", (), "choose an hour from 2024-10-04T00 to 2024-10-04T01"),
        ("2024-10-04T01", ("--level", "1e-9"), "fit with more --simulated-requests"),
        ("2024-10-04T01", ("--model-version", "9"), "it holds signs/1"),
        ("2024-10-04T01", ("--baseline", "missing.safetensors"), "missing.safetensors"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_no_file(
    export: Run, tmp_path: Path, hour: str, options: tuple[str, ...], text: str
) -> None:
    result = export(hour, *options)
    assert result.exit_code == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert text in line
    assert not (tmp_path / "v.json").exists()


def test_the_baseline_of_another_model_is_refused(
    export: Run, traffic: Any, tmp_path: Path
) -> None:
    batch = replace(traffic.batch(0), model="faces")
    result = export(CLEAN, url=record(tmp_path / "faces", [RecordedMessage(0, 0, batch)]))
    assert result.exit_code == 1
    assert "is of faces/1 and the baseline of signs/1" in result.stderr


@pytest.mark.parametrize("hour", ["10 o'clock", "2026-01-05T10:30:00Z"])
def test_an_hour_that_is_none_is_wrong_usage(export: Run, hour: str) -> None:
    result = export(hour)
    assert result.exit_code == 2
    assert "2026-01-05T10" in result.stderr
