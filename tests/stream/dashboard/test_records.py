"""Records that are, and are not, what their topic is for."""

import pytest

from latentwatch.stream.dashboard.records import HEAD_BYTES, Alert, DeadLetter, Rate, parse
from tests.stream.dashboard.material import Record, alert, event, extraction, flagged, letter, rate


def test_a_rate_is_read_with_the_time_of_its_publication() -> None:
    found = parse("detection_rates", rate())
    assert found is not None
    assert isinstance(found.content, Rate)
    assert (found.content.requests, found.published) == (1600, 1_767_607_400.0)


@pytest.mark.parametrize("client", ["u7", "x" * 256, "\u202e<b>\n\0é"])
def test_an_alert_about_a_client_says_who_and_leaves_out_what_windows_have(client: str) -> None:
    found = parse("alerts", extraction(client=client))
    assert found is not None
    assert isinstance(found.content, Alert)
    assert (found.content.client, found.content.contamination) == (client, None)


def test_an_alert_of_an_earlier_version_is_about_no_client() -> None:
    found = parse("alerts", alert())
    assert found is not None
    assert isinstance(found.content, Alert)
    assert found.content.client is None


def test_a_record_that_deletes_says_nothing() -> None:
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
def test_what_no_worker_writes_is_refused(role: str, record: Record) -> None:
    with pytest.raises(ValueError, match=r"no CloudEvent|validation error"):
        parse(role, record)


def test_a_dead_letter_is_shown_by_its_beginning_and_our_headers_win() -> None:
    found = parse("dead_letter", letter(7))
    assert found is not None
    content = found.content
    assert isinstance(content, DeadLetter)
    assert (content.reason, content.detail) == ("bad-length", "the value is too short")
    assert (content.place, content.size) == ("activations/0/7", 1024)
    assert len(content.head) <= HEAD_BYTES
    assert content.head.isprintable()


def test_a_dead_letter_with_nothing_in_it_is_one_all_the_same() -> None:
    found = parse("dead_letter", Record(None, topic="dead-letter", offset=4))
    assert found is not None
    assert isinstance(found.content, DeadLetter)
    assert (found.content.reason, found.content.place) == ("unknown", "dead-letter/0/4")
