"""A replay of a recording publishes the same records as the worker, byte for byte."""

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from latentwatch.stream.recording import Recording
from latentwatch.stream.settings import Settings
from tests.end_to_end.service import Outputs
from tests.end_to_end.traffic import HOUR_NS, START_HOUR

pytestmark = pytest.mark.broker

COMMAND = [sys.executable, "-m", "latentwatch"]


def environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, **settings.environment()}


def latentwatch(settings: Settings, *words: str) -> str:
    """Run a command to its end; return what it printed."""
    done = subprocess.run(
        [*COMMAND, *words], env=environment(settings), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def newest(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Events by key, as compaction would leave them."""
    return {event["id"].rsplit("/", 1)[0]: event for event in events}


def by_id(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["id"]: event for event in events}


def standing(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Flagged requests that were not withdrawn."""
    found = newest(events)
    return {who: event for who, event in found.items() if event["data"]["status"] == "flagged"}


def without_revision(events: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        who: {name: value for name, value in event["data"].items() if name != "revision"}
        for who, event in events.items()
    }


@dataclass(frozen=True)
class Offline:
    """What `latentwatch replay --offline --out` wrote."""

    alerts: list[dict[str, Any]]
    detection_rates: list[dict[str, Any]]
    flagged_requests: list[dict[str, Any]]
    printed: str


def offline(settings: Settings, url: str, out: Path, *options: str) -> Offline:
    printed = latentwatch(settings, "replay", url, "--offline", "--out", str(out), *options)
    lines = [
        [orjson.loads(line) for line in (out / f"{name}.jsonl").read_bytes().splitlines()]
        for name in ("alerts", "detection-rates", "flagged-requests")
    ]
    return Offline(*lines, printed)


@pytest.fixture(scope="module")
def recorded(undisturbed: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The topic of the undisturbed run, recorded by two recorders; the first is killed."""
    url = tmp_path_factory.mktemp("recording")
    log = tmp_path_factory.mktemp("logs") / "record.log"
    with log.open("wb") as output:
        first = subprocess.Popen(
            [*COMMAND, "record", "--out", str(url), "--rotate-megabytes", "0.02"],
            env=environment(undisturbed.settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 60.0
    while len(list(url.rglob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    first.kill()
    first.wait(10)
    assert list(url.rglob("*.parquet")), log.read_text()[-3000:]
    printed = latentwatch(undisturbed.settings, "record", "--out", str(url), "--until-end")
    assert "bad-length" in printed
    return str(url)


@pytest.fixture(scope="module")
def decided(undisturbed: Any, recorded: str, tmp_path_factory: pytest.TempPathFactory) -> Offline:
    return offline(undisturbed.settings, recorded, tmp_path_factory.mktemp("decided"))


def test_every_valid_request_is_recorded_once(undisturbed: Any, recorded: str) -> None:
    counts: Counter[tuple[str, int]] = Counter()
    seen = set()
    for message in Recording(recorded).messages():
        hours = message.batch.event_time_ns // HOUR_NS - START_HOUR
        for request_id, hour in zip(message.batch.request_ids, hours.tolist(), strict=True):
            counts[message.batch.model, hour] += len(request_id) > 1  # the refused ones are a to d
        seen.add((message.partition, message.offset))
        assert len(seen) == len(set(seen))
    sound = {lane: count for lane, count in counts.items() if count}
    assert sound == dict(undisturbed.recording.requests)
    # the recorder keeps messages that the worker refuses, if they decode and are not of the future
    assert len(seen) == len(undisturbed.recording.messages) - 6


def test_alerts_are_those_that_the_worker_published(undisturbed: Any, decided: Offline) -> None:
    assert by_id(decided.alerts) == by_id(undisturbed.outputs.alerts)
    assert decided.alerts


def test_rates_are_those_in_the_topic(undisturbed: Any, decided: Offline) -> None:
    published = newest(undisturbed.outputs.detection_rates)
    assert without_revision(newest(decided.detection_rates)) == without_revision(published)


def test_flagged_requests_are_those_in_the_topic(undisturbed: Any, decided: Offline) -> None:
    assert standing(decided.flagged_requests) == standing(undisturbed.outputs.flagged_requests)
    assert standing(decided.flagged_requests)


def test_refused_messages_and_alerts_are_printed(decided: Offline) -> None:
    assert "bad-dimension" in decided.printed
    assert decided.alerts[0]["data"]["id"][:12] in decided.printed


def test_a_part_can_be_decided_alone(undisturbed: Any, recorded: str, tmp_path: Path) -> None:
    found = offline(
        undisturbed.settings,
        recorded,
        tmp_path,
        *("--model", "signs", "--since", "2024-05-01T00", "--until", "2024-05-01T01"),
    )
    assert {event["data"]["hour"] for event in found.detection_rates} == {"2024-05-01T00:00:00Z"}
    assert found.alerts == []


def test_another_run_length_shows_what_would_have_happened(
    undisturbed: Any, recorded: str, tmp_path: Path
) -> None:
    found = offline(undisturbed.settings, recorded, tmp_path, "--average-run-length", "1000")
    assert {alert["data"]["average_run_length"] for alert in found.alerts} == {1000}
    assert len({alert["data"]["id"] for alert in found.alerts}) >= 2


def test_existing_files_are_not_overwritten(
    undisturbed: Any, recorded: str, tmp_path: Path
) -> None:
    kept = tmp_path / "alerts.jsonl"
    kept.write_text("mine")
    done = subprocess.run(
        [*COMMAND, "replay", recorded, "--offline", "--out", str(tmp_path)],
        env=environment(undisturbed.settings),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert kept.read_text() == "mine"


@dataclass(frozen=True)
class Replayed:
    """A recording that was replayed into Kafka, and the recording of that replay."""

    outputs: Outputs
    settings: Settings
    url: str


@pytest.fixture(scope="module")
def replayed(
    undisturbed: Any,
    recorded: str,
    make_service: Any,
    kafka_bootstrap: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Replayed:
    """A replay at the workers' speed; only records move time, and one worker is killed."""
    prefix = undisturbed.settings.topic_prefix.replace("undisturbed", "replayed")
    with make_service(kafka_bootstrap, prefix, idle_seconds=0, take_max=7) as service:
        first = service.start_worker()
        replaying = subprocess.Popen(
            [*COMMAND, "replay", recorded, "--speed", "max", "--most-lag", "40"],
            env=environment(service.settings),
            stdout=subprocess.PIPE,
            text=True,
        )
        service.wait_until("the worker at work", lambda: service.taken(1) >= 3)
        first.kill()
        second = service.start_worker()
        printed, _ = replaying.communicate(timeout=120)
        assert replaying.returncode == 0
        assert "replayed" in printed
        service.wait_for_requests(undisturbed.recording.requests)
        second.stop()
        url = str(tmp_path_factory.mktemp("replayed"))
        latentwatch(service.settings, "record", "--out", url, "--until-end")
        return Replayed(service.read(), service.settings, url)


def test_a_replay_gives_the_same_rates(undisturbed: Any, decided: Offline, replayed: Any) -> None:
    published = newest(replayed.outputs.detection_rates)
    assert without_revision(published) == without_revision(newest(decided.detection_rates))


def test_where_only_records_move_time_revisions_are_the_same_too(
    replayed: Replayed, tmp_path: Path
) -> None:
    found = offline(replayed.settings, replayed.url, tmp_path)
    assert newest(found.detection_rates) == newest(replayed.outputs.detection_rates)
    assert by_id(found.alerts) == by_id(replayed.outputs.alerts)
    assert standing(found.flagged_requests) == standing(replayed.outputs.flagged_requests)
