"""Alerts in files of events."""

from pathlib import Path

import orjson
import pytest

from latentwatch.stream.core.times import parse_timestamp
from latentwatch.stream.investigate import (
    ClientAlert,
    InvestigationError,
    alert_in_file,
    newest_alert,
)


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
    with pytest.raises(InvestigationError, match=r"a\.jsonl has a line that is not an event"):
        alert_in_file("a", path)


def test_an_event_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rates.jsonl", {"data": {"id": "a", "detection_rate": 0.1}})
    with pytest.raises(InvestigationError, match=r"rates\.jsonl has an event that is not an alert"):
        alert_in_file("a", path)


CLIENT = "\u202e<b>mallory\x1b[2J"


@pytest.fixture
def about_client(event: dict, tmp_path: Path) -> Path:
    """The event of an alert about a client, in a file."""
    nothing = dict.fromkeys(("p_value", "contamination", "contamination_lower_bound"))
    window = event["data"]["window"] | {"offsets": [{"partition": 2, "first": 25, "last": 93}]}
    client = {"id": "e" * 32, "pattern": "extraction", "client": CLIENT, "window": window}
    data = event["data"] | nothing | client | {"layers": {}, "most_suspicious": []}
    return write(tmp_path / "a.jsonl", event, event | {"data": data})


def test_an_alert_about_a_client_says_who_they_are_and_where_their_queries_lie(
    about_client: Path,
) -> None:
    found = alert_in_file("eee", about_client)
    assert isinstance(found, ClientAlert)
    assert found.client == CLIENT
    assert (found.partition, found.first_offset, found.last_offset) == (2, 25, 93)


def test_times_keep_their_nanoseconds() -> None:
    assert parse_timestamp("2026-01-05T10:02:40.828882294Z") == 1_767_607_360_828_882_294
    assert parse_timestamp("1970-01-01T00:00:01Z") == 10**9
