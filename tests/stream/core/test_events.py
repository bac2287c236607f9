"""What goes out: names, times and keys of events, and dead letters as they came in."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch import __version__
from latentwatch.detector import Baseline
from latentwatch.stream.core.alerts import Alert, AlertTracker
from latentwatch.stream.core.cloud_events import CONTENT_TYPE
from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.events import (
    ATLAS_TECHNIQUES,
    AlertEvent,
    DeadLetter,
    FlaggedRequest,
    RateRow,
    Record,
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
    record = AlertChange(KEY, alert).event(100_000).to_record(TOPICS)
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
    drift = Alert(alert.id, "firing", 0, 0, 0, replace(alert.peak, pattern="drift"))
    data = event_of(AlertChange(KEY, drift).event(100_000).to_record(TOPICS))["data"]
    assert (data["pattern"], data["atlas_technique"]) == ("drift", None)


def test_states_of_an_alert_share_the_key_and_differ_in_the_event_id(alert: Alert) -> None:
    resolved = Alert(alert.id, "resolved", 0, 0, alert.last_event_time_ns + 1, alert.peak)
    records = [AlertChange(KEY, state).event(1e6).to_record(TOPICS) for state in (alert, resolved)]
    assert len({record.key for record in records}) == 1
    assert len({event_of(record)["id"] for record in records}) == 2


def test_the_same_input_gives_the_same_bytes(
    alert: Alert, report: HourReport, part: HourPart
) -> None:
    def everything() -> list[Record]:
        change = AlertChange(KEY, alert)
        return [
            change.event(100_000).to_record(TOPICS),
            HourPart.from_bytes(part.to_bytes()).to_record(TOPICS),
            *report.to_records(TOPICS),
        ]

    assert everything() == everything()


def test_making_an_event_leaves_the_alert_as_it_was(alert: Alert) -> None:
    before = orjson.dumps(alert.peak)
    AlertChange(KEY, alert).event(100_000).to_record(TOPICS)
    assert orjson.dumps(alert.peak) == before


def test_parts_of_a_model_version_go_one_way(part: HourPart) -> None:
    record = part.to_record(TOPICS)
    assert (record.topic, record.key) == ("vision.hour-sketches", b"signs/1/480000/3/5")
    assert record.route == b"signs/1"
    assert HourPart.from_bytes(record.value or b"") == part


def test_rates_are_keyed_by_model_version_layer_and_hour(report: HourReport, traffic: Any) -> None:
    records = [r for r in report.to_records(TOPICS) if r.topic == "vision.detection-rates"]
    assert [record.key.decode() for record in records] == [
        f"signs/1/{layer}/2024-10-04T00:00:00Z" for layer in ("deep", "agreement", "early")
    ]
    for record, row in zip(records, report.rates, strict=True):
        event = event_of(record)
        assert event["type"] == "io.latentwatch.detection-rate.v1"
        assert event["source"] == "/latentwatch/signs/1"
        assert event["id"] == f"{record.key.decode()}/1"
        assert event["time"] == timestamp(traffic.start_ns + HOUR_NS)
        assert event["data"] == row.data()
        assert record.headers == [CONTENT_TYPE]


def test_flagged_requests_are_keyed_by_model_version_and_request(report: HourReport) -> None:
    records = [r for r in report.to_records(TOPICS) if r.topic == "vision.flagged-requests"]
    assert len(records) == len(report.flagged)
    for record, request in zip(records, report.flagged, strict=True):
        event = event_of(record)
        assert event["type"] == "io.latentwatch.flagged-request.v1"
        assert record.key.decode() == f"signs/1/{request.request_id}"
        assert event["data"]["event_time"] == request.event_time
        assert event["data"]["input_ref"] == request.input_ref
        assert "event_time_ns" not in event["data"]


def letter(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "topic": TOPICS.activations,
        "partition": 4,
        "offset": 75,
        "value": b"\x00garbage\xff",
        "key": b"signs/1\xff",
        "headers": [("ce_id", b"\xfe"), ("ce_id", b"twice")],
        "reason": "bad-header",
        "detail": "header ce_id is there twice",
    }
    return DeadLetter(**(fields | changes)).to_record(TOPICS)


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


def test_a_dead_letter_is_read_as_it_was_written() -> None:
    record = letter(headers=[("latentwatch-reason", b"forged"), ("ce_id", b"\xfe")])
    found = DeadLetter.from_record(record.key, record.value, record.headers)
    assert found.to_record(TOPICS) == record
    assert (found.topic, found.partition, found.offset) == ("vision.activations", 4, 75)
    assert (found.key, found.reason) == (b"signs/1\xff", "bad-header")
    assert found.headers == [("latentwatch-reason", b"forged"), ("ce_id", b"\xfe")]


def test_a_dead_letter_without_our_headers_has_no_reason() -> None:
    found = DeadLetter.from_record(b"activations/0/7", None, [("ce_id", b"1")])
    assert (found.reason, found.detail, found.headers) == ("unknown", "", [("ce_id", b"1")])


@pytest.mark.parametrize("key", [None, b"", b"activations/1", b"a/-1/2", b"a/1/2/3", b"\xff/x/1"])
def test_a_dead_letter_from_nowhere_is_refused(key: bytes | None) -> None:
    with pytest.raises(EventError, match="its key"):
        DeadLetter.from_record(key, None, [])


@pytest.fixture(scope="session")
def written(alert: Alert, report: HourReport) -> dict[str, dict[str, Any]]:
    """One event of each kind, parsed."""
    records = [AlertChange(KEY, alert).event(1e5).to_record(TOPICS), *report.to_records(TOPICS)]
    return {event["type"].split(".")[2]: event for event in map(event_of, records)}


KINDS = {kind.KIND: kind for kind in (AlertEvent, RateRow, FlaggedRequest)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_written_again_to_the_byte(
    written: dict[str, dict[str, Any]], kind: str
) -> None:
    value = orjson.dumps(written[kind])
    assert KINDS[kind].from_json(value).to_record(TOPICS).value == value


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("alert", {"status": "burning"}, "status: "),
        ("alert", {"pattern": "hail"}, "pattern: "),
        ("alert", {"score": "9"}, "score: "),
        ("alert", {"score": True}, "score: "),
        ("alert", {"partition": -1}, "partition: "),
        ("alert", {"id": "a\nb"}, "id: "),
        ("alert", {"model": "a\x00b"}, "model: "),
        ("alert", {"fired_at": "yesterday"}, "fired_at: "),
        ("alert", {"window": {"requests": 3}}, "window.first_event_time: "),
        ("alert", {"layers": {"deep": {"T": 1, "E": None, "score": 1}}}, "layers.deep.E: "),
        ("alert", {"most_suspicious": [{}]}, "most_suspicious.0.request_id: "),
        ("detection-rate", {"requests": 1.5}, "requests: "),
        ("detection-rate", {"p_value": []}, "p_value: "),
        ("detection-rate", {"hour": None}, "hour: "),
        ("flagged-request", {"offset": 2**63}, "offset: "),
        ("flagged-request", {"request_id": "r" * 1001}, "request_id: "),
    ],
)
def test_a_wrong_member_is_named(
    written: dict[str, dict[str, Any]], kind: str, changes: dict[str, Any], said: str
) -> None:
    event = written[kind]
    with pytest.raises(EventError, match=f"^invalid {kind} event: {said}"):
        KINDS[kind].from_json({**event, "data": event["data"] | changes})


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b"3", b'{"data": 3}', b'{"data": {"score": NaN}}', b"[" * 2000, b"\xff"],
)
def test_what_is_no_event_is_refused(value: bytes) -> None:
    for kind in KINDS.values():
        with pytest.raises(EventError, match=r"^invalid "):
            kind.from_json(value)


def test_another_event_is_refused(written: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(EventError, match=r"its type is 'io\.latentwatch\.alert\.v1'"):
        RateRow.from_json(written["alert"])


def test_members_that_older_events_lack_have_a_default(written: dict[str, dict[str, Any]]) -> None:
    event = written["alert"]
    later = ("client", "atlas_technique", "software_version")
    old = {name: value for name, value in event["data"].items() if name not in later}
    found = AlertEvent.from_json({"data": old | {"added_later": 1}})
    assert (found.client, found.atlas_technique, found.software_version) == (None, None, "")
