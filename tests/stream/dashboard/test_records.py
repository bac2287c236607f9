"""Records that do, and do not, belong in their topic."""

import pytest

from latentwatch.stream.core.errors import EventError
from latentwatch.stream.core.events import AlertEvent, RateRow
from latentwatch.stream.dashboard.records import HEAD_BYTES, LetterSummary, parse
from tests.stream.dashboard.material import Record, alert, event, extraction, flagged, letter, rate


def test_a_rate_is_read_with_the_time_of_its_publication() -> None:
    found = parse("detection_rates", rate())
    assert found is not None
    assert isinstance(found.content, RateRow)
    assert (found.content.requests, found.published) == (1600, 1_767_607_400.0)


@pytest.mark.parametrize("client", ["u7", "x" * 256, "\u202e<b>é"])
def test_an_alert_about_a_client_names_the_client_and_has_no_contamination(client: str) -> None:
    found = parse("alerts", extraction(client=client))
    assert found is not None
    assert isinstance(found.content, AlertEvent)
    assert (found.content.client, found.content.contamination) == (client, None)


def test_an_alert_of_an_earlier_version_has_no_client() -> None:
    found = parse("alerts", alert())
    assert found is not None
    assert isinstance(found.content, AlertEvent)
    assert found.content.client is None


def test_a_tombstone_has_no_content() -> None:
    assert parse("alerts", Record(None)) is None


@pytest.mark.parametrize(
    ("role", "record"),
    [
        ("alerts", Record(b"garbage")),
        ("alerts", Record(b"[1]")),
        ("alerts", event({"id": "x"})),
        ("alerts", alert(status="burning")),
        ("alerts", alert(id_="x" * 5000)),
        ("alerts", extraction(client="x" * 5000)),
        ("alerts", extraction(score=None)),
        ("detection_rates", rate(requests=-1)),
        ("detection_rates", rate(T="high")),
        ("flagged_requests", flagged(p_value=None)),
    ],
)
def test_a_record_that_no_worker_writes_is_refused(role: str, record: Record) -> None:
    with pytest.raises(
        EventError, match=r"^invalid (alert|detection-rate|flagged-request) event: "
    ):
        parse(role, record)


def test_a_dead_letter_shows_its_first_bytes_and_our_headers_take_precedence() -> None:
    found = parse("dead_letter", letter(7))
    assert found is not None
    content = found.content
    assert isinstance(content, LetterSummary)
    assert (content.reason, content.detail) == ("bad-length", "the value is too short")
    assert (content.place, content.size) == ("activations/0/7", 1024)
    assert len(content.head) <= HEAD_BYTES
    assert content.head.isprintable()


def test_an_empty_dead_letter_is_accepted() -> None:
    found = parse("dead_letter", Record(None, topic="dead-letter", offset=4))
    assert found is not None
    assert isinstance(found.content, LetterSummary)
    assert (found.content.reason, found.content.place) == ("unknown", "dead-letter/0/4")
