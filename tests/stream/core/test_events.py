"""What goes out: names, times and keys of events, and dead letters as they came in."""

from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch import __version__
from latentwatch.detector import Baseline
from latentwatch.stream.core.alerts import Alert, AlertTracker
from latentwatch.stream.core.events import (
    ATLAS_TECHNIQUES,
    CONTENT_TYPE,
    Record,
    alert_record,
    dead_letter_record,
    hour_part_record,
    report_records,
)
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.lane import AlertChange, LaneKey
from latentwatch.stream.core.rates import HourReport, RateAggregator
from latentwatch.stream.core.times import HOUR_NS, timestamp
from latentwatch.stream.settings import Settings

TOPICS = Settings(topic_prefix="vision.").topics()
KEY = LaneKey("signs", "1", 3)


@pytest.fixture(scope="session")
def baseline(traffic: Any) -> Baseline:
    return traffic.baseline


def event_of(record: Record) -> dict[str, Any]:
    event = orjson.loads(record.value or b"")
    assert isinstance(event, dict)
    return event


@pytest.fixture(scope="session")
def alert(traffic: Any, baseline: Baseline) -> Alert:
    """An alert that has just fired."""
    decision = traffic.decision(baseline, 0, 4.0)
    fired = AlertTracker("signs/1/3", 64).judge(decision, baseline, 32)
    assert fired is not None
    return fired


@pytest.fixture(scope="session")
def part(traffic: Any, baseline: Baseline) -> HourPart:
    """A part with suspicious requests among many clean ones."""
    blocks = [traffic.block(baseline, n, 64, scale=4.0 if n == 2 else 1.0) for n in range(6)]
    sketches = [baseline.sketch(block.features, block.requests) for block in blocks]
    tally = Tally(sum(sketches, baseline.empty_sketch()), windows=12, alarms=2)
    return HourPart("signs", "1", 3, 5, traffic.hour, baseline.sha256, tally)


@pytest.fixture(scope="session")
def report(baseline: Baseline, part: HourPart) -> HourReport:
    """What the part alone makes of its hour."""
    found = RateAggregator(lambda _model, _version: baseline, 0.1, 48).add(part)
    assert found is not None
    assert found.flagged
    return found


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_728_000_000_000_000_001, "2024-10-04T00:00:00.000000001Z"),
        (1_727_999_999_999_999_999, "2024-10-03T23:59:59.999999999Z"),
        (7_258_118_399_999_999_999, "2199-12-31T23:59:59.999999999Z"),
    ],
)
def test_timestamps_are_exact_to_the_nanosecond(time_ns: int, text: str) -> None:
    assert timestamp(time_ns) == text


@given(st.integers(0, 7_258_118_400 * 10**9 - 1))
def test_no_timestamp_is_rounded(time_ns: int) -> None:
    whole, _, fraction = timestamp(time_ns).removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    assert seconds * 10**9 + int(fraction) == time_ns


def test_an_alert_is_keyed_by_its_id(alert: Alert, traffic: Any, baseline: Baseline) -> None:
    record = alert_record(TOPICS, AlertChange(KEY, alert), 100_000)
    assert (record.topic, record.key) == ("vision.alerts", alert.id.encode())
    assert record.headers == [CONTENT_TYPE]
    event = event_of(record)
    data = event["data"]
    assert (event["specversion"], event["type"]) == ("1.0", "io.latentwatch.alert.v1")
    assert event["source"] == "/latentwatch/signs/1/3"
    assert event["time"] == timestamp(alert.last_event_time_ns)
    assert (data["id"], data["status"], data["severity"]) == (alert.id, "firing", "critical")
    assert (data["model"], data["version"], data["partition"]) == KEY
    assert (data["fired_at"], data["fired_at_offset"]) == (event["time"], 0)
    assert data["window"] == {
        "requests": 32,
        "first_event_time": timestamp(traffic.start_ns),
        "last_event_time": timestamp(traffic.start_ns + 31 * 10**9),
        "offsets": [{"partition": 3, "first": 0, "last": 0}],
    }
    assert data["average_run_length"] == 100_000
    assert data["baseline_sha256"] == baseline.sha256
    assert data["software_version"] == __version__
    assert data["pattern"] == "adversarial"
    assert data["atlas_technique"] == ATLAS_TECHNIQUES["adversarial"]
    assert all(s["event_time"].endswith("Z") for s in data["most_suspicious"])


def test_drift_is_no_technique_of_an_attacker(alert: Alert) -> None:
    drift = Alert(alert.id, "firing", 0, 0, 0, {**alert.peak, "pattern": "drift"})
    data = event_of(alert_record(TOPICS, AlertChange(KEY, drift), 100_000))["data"]
    assert (data["pattern"], data["atlas_technique"]) == ("drift", None)


def test_states_of_an_alert_share_the_key_and_differ_in_the_event_id(alert: Alert) -> None:
    resolved = Alert(alert.id, "resolved", 0, 0, alert.last_event_time_ns + 1, alert.peak)
    records = [alert_record(TOPICS, AlertChange(KEY, state), 1e6) for state in (alert, resolved)]
    assert len({record.key for record in records}) == 1
    assert len({event_of(record)["id"] for record in records}) == 2


def test_the_same_input_gives_the_same_bytes(
    alert: Alert, report: HourReport, part: HourPart
) -> None:
    def everything() -> list[Record]:
        change = AlertChange(KEY, alert)
        return [
            alert_record(TOPICS, change, 100_000),
            hour_part_record(TOPICS, HourPart.from_bytes(part.to_bytes())),
            *report_records(TOPICS, report),
        ]

    assert everything() == everything()


def test_making_an_event_leaves_the_alert_as_it_was(alert: Alert) -> None:
    before = orjson.dumps(alert.peak)
    alert_record(TOPICS, AlertChange(KEY, alert), 100_000)
    assert orjson.dumps(alert.peak) == before


def test_parts_of_a_model_version_go_one_way(part: HourPart) -> None:
    record = hour_part_record(TOPICS, part)
    assert (record.topic, record.key) == ("vision.hour-sketches", b"signs/1/480000/3/5")
    assert record.route == b"signs/1"
    assert HourPart.from_bytes(record.value or b"") == part


def test_rates_are_keyed_by_model_version_layer_and_hour(report: HourReport, traffic: Any) -> None:
    records = [r for r in report_records(TOPICS, report) if r.topic == "vision.detection-rates"]
    assert [record.key.decode() for record in records] == [
        f"signs/1/{layer}/2024-10-04T00:00:00Z" for layer in ("deep", "agreement", "early")
    ]
    for record, row in zip(records, report.rates, strict=True):
        event = event_of(record)
        assert event["type"] == "io.latentwatch.detection-rate.v1"
        assert event["source"] == "/latentwatch/signs/1"
        assert event["id"] == f"{record.key.decode()}/1"
        assert event["time"] == timestamp(traffic.start_ns + HOUR_NS)
        assert event["data"] == row
        assert record.headers == [CONTENT_TYPE]


def test_flagged_requests_are_keyed_by_model_version_and_request(report: HourReport) -> None:
    records = [r for r in report_records(TOPICS, report) if r.topic == "vision.flagged-requests"]
    assert len(records) == len(report.flagged)
    for record, request in zip(records, report.flagged, strict=True):
        event = event_of(record)
        assert event["type"] == "io.latentwatch.flagged-request.v1"
        assert record.key.decode() == f"signs/1/{request['request_id']}"
        assert event["data"]["event_time"] == timestamp(request["event_time_ns"])
        assert event["data"]["input_ref"] == request["input_ref"]
        assert "event_time_ns" not in event["data"]


def letter(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "partition": 4,
        "offset": 75,
        "value": b"\x00garbage\xff",
        "key": b"signs/1\xff",
        "headers": [("ce_id", b"\xfe"), ("ce_id", b"twice")],
        "reason": "bad-header",
        "detail": "header ce_id is there twice",
    }
    return dead_letter_record(TOPICS, **(fields | changes))


def test_a_dead_letter_keeps_what_came_and_says_why_and_from_where() -> None:
    record = letter()
    assert (record.topic, record.key) == ("vision.dead-letter", b"vision.activations/4/75")
    assert record.value == b"\x00garbage\xff"
    assert record.headers == [
        ("ce_id", b"\xfe"),
        ("ce_id", b"twice"),
        ("latentwatch-reason", b"bad-header"),
        ("latentwatch-detail", b"header ce_id is there twice"),
        ("latentwatch-topic", b"vision.activations"),
        ("latentwatch-partition", b"4"),
        ("latentwatch-offset", b"75"),
        ("latentwatch-key", b"signs/1\xff"),
    ]


def test_a_dead_letter_without_key_or_value_stays_so() -> None:
    record = letter(key=None, value=None)
    assert record.value is None
    assert "latentwatch-key" not in dict(record.headers)


def test_a_long_or_odd_explanation_does_not_break_a_dead_letter() -> None:
    detail = dict(letter(detail="\ud800" + "ü" * 5000).headers)["latentwatch-detail"]
    assert detail.decode() == "?" + "ü" * 999
