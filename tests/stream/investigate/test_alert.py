"""Alerts in files of events."""

from pathlib import Path

import orjson
import pytest

from stream.investigate import InvestigationError, alert_in_file, newest_alert
from stream.investigate.alert import nanoseconds


def write(path: Path, *events: dict[str, object]) -> Path:
    path.write_bytes(b"\n".join(orjson.dumps(event) for event in events) + b"\n\n")
    return path


@pytest.fixture
def event(incident) -> dict:
    return orjson.loads(incident.alerts.read_bytes().splitlines()[-1])


def test_the_newest_state_of_an_alert_counts_and_the_beginning_of_its_id_is_enough(
    event: dict, tmp_path: Path
) -> None:
    identity = event["data"]["id"]
    older = event | {"data": event["data"] | {"status": "firing", "score": 7.0}}
    found = alert_in_file(identity[:8], write(tmp_path / "a.jsonl", older, event))
    assert (found.id, found.status) == (identity, "resolved")
    assert found.score == event["data"]["score"]


def test_an_unknown_alert_is_answered_with_those_that_are_there(
    event: dict, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", event)
    with pytest.raises(InvestigationError, match=f"no alert 'xyz'.*{event['data']['id']}"):
        alert_in_file("xyz", path)


def test_an_ambiguous_beginning_is_refused_but_a_whole_id_is_not(event: dict) -> None:
    records = [(name, orjson.dumps(event)) for name in ("ab", "abc")]
    with pytest.raises(InvestigationError, match="begin with 'a': ab, abc; give more"):
        newest_alert("a", records, "somewhere")
    assert newest_alert("ab", records, "somewhere").id == event["data"]["id"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"data": {}}'])
def test_lines_that_are_no_events_are_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line)
    with pytest.raises(InvestigationError, match=r"a\.jsonl has a line that is no event"):
        alert_in_file("a", path)


def test_an_event_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rates.jsonl", {"data": {"id": "a", "detection_rate": 0.1}})
    with pytest.raises(InvestigationError, match=r"rates\.jsonl holds an event that is no alert"):
        alert_in_file("a", path)


def test_times_keep_their_nanoseconds() -> None:
    assert nanoseconds("2026-01-05T10:02:40.828882294Z") == 1_767_607_360_828_882_294
    assert nanoseconds("1970-01-01T00:00:01Z") == 10**9
