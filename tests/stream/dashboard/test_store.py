"""The history: no duplicates, no partial writes, no records of other topics."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwatch.stream.dashboard.history import MOST_POINTS, History
from latentwatch.stream.dashboard.options import DashboardError
from latentwatch.stream.dashboard.records import parse
from latentwatch.stream.dashboard.store import MOST_LETTERS, Place, Sample, Store
from tests.stream.dashboard.conftest import TOPICS
from tests.stream.dashboard.material import alert, extraction, flagged, letter, rate

Take = Callable[..., None]
NOW = 1_767_607_400.0


def test_a_restart_continues_where_the_history_ends_and_shows_the_past(file: Path) -> None:
    with Store(file, TOPICS, keep_days=90) as store:
        store.take([parse("alerts", alert())], {Place("alerts", 1): 7})  # type: ignore[list-item]
    with Store(file, TOPICS, keep_days=90) as store:
        assert store.places() == {Place("alerts", 1): 7}
        assert [found.id for found in History(file).alerts()] == ["a" * 32]


def test_records_and_their_offsets_are_stored_together_or_not_at_all(
    store: Store, history: History
) -> None:
    good = parse("detection_rates", rate())
    with pytest.raises(sqlite3.Error):
        store.take([good], {Place("rates", 0): None})  # type: ignore[dict-item, list-item]
    assert history.hours("signs", "1", 10) == []
    assert store.places() == {}


def test_the_latest_state_of_an_alert_counts_whatever_arrives_last(
    take: Take, history: History
) -> None:
    take("alerts", alert(minute=4), alert(minute=9, status="resolved", score=12.0))
    take("alerts", alert(minute=4), alert(minute=9))
    (found,) = history.alerts()
    assert (found.status, found.score) == ("resolved", 12.0)
    steps = [(step["last_seen_at"][14:16], step["status"]) for step in history.steps(found.id)]
    assert steps == [("04", "firing"), ("09", "firing"), ("09", "resolved")]


def test_an_alert_about_a_client_has_steps_without_contamination(
    take: Take, history: History
) -> None:
    take("alerts", extraction(), extraction(minute=9, status="resolved"))
    (found,) = history.alerts()
    assert (found.client, found.status) == ("u7", "resolved")
    assert [step["contamination"] for step in history.steps(found.id)] == [None, None]


def test_alerts_in_a_history_of_an_earlier_version_are_shown(
    take: Take, store: Store, history: History
) -> None:
    take("alerts", alert())
    with sqlite3.connect(store.path) as earlier:
        earlier.execute(
            "UPDATE alert SET data = json_remove(data, '$.client', '$.fired_at_offset')"
        )
    earlier.close()
    assert [found.client for found in history.alerts()] == [None]


def test_the_highest_revision_of_an_hour_counts(take: Take, history: History) -> None:
    take("detection_rates", rate(revision=3, flagged=7), rate(revision=2, flagged=5))
    (found,) = history.hours("signs", "1", 10)
    assert (found.revision, found.flagged) == (3, 7)


def test_an_hour_judged_by_a_baseline_is_no_longer_unjudged(take: Take, history: History) -> None:
    take("detection_rates", rate(layer="", status="no-baseline"), rate(revision=2))
    assert [found.layer for found in history.hours("signs", "1", 10)] == ["deep"]


def test_the_latest_hours_come_with_all_their_layers(take: Take, history: History) -> None:
    take("detection_rates", *(rate(h, layer) for h in range(5) for layer in ("deep", "early")))
    found = history.hours("signs", "1", 2)
    assert [(row.hour[11:13], row.layer) for row in found] == [
        ("03", "deep"), ("03", "early"), ("04", "deep"), ("04", "early"),
    ]  # fmt: skip


def test_a_withdrawn_request_is_no_longer_flagged(take: Take, history: History) -> None:
    take("flagged_requests", flagged(1), flagged(2), flagged(1), flagged(2, "withdrawn"))
    found = history.flagged("signs", "1", "2026-01-05T10:00:00Z", 10)
    assert [request.request_id for _, request in found] == ["request-1"]


def test_every_dead_letter_is_counted_once_while_examples_are_limited(
    take: Take, store: Store, history: History
) -> None:
    take("dead_letter", *(letter(n) for n in range(MOST_LETTERS + 5)), letter(3))
    take("dead_letter", letter(999, "bad-key"))
    store.forget(NOW)
    counts, examples = history.letters(1000)
    counted = {row["reason"]: row["count"] for row in counts}
    assert counted == {"bad-length": MOST_LETTERS + 5, "bad-key": 1}
    assert len(examples) == MOST_LETTERS
    assert examples[0].place == "activations/0/999"


def test_old_records_are_deleted_but_firing_alerts_are_kept(
    take: Take, store: Store, history: History
) -> None:
    take("alerts", alert("a" * 32), alert("b" * 32, status="resolved"))
    take("detection_rates", rate())
    store.forget(NOW + 91 * 86_400)
    assert [found.id for found in history.alerts()] == ["a" * 32]
    assert history.hours("signs", "1", 10) == []
    assert history.steps("b" * 32) == []


def test_thinning_many_windows_keeps_the_highest_scores(store: Store, history: History) -> None:
    many = 2 * MOST_POINTS
    store.take_samples(
        Sample(float(n), "signs", "1", 0, "", None, None, float(n == 777), 7.0) for n in range(many)
    )
    points = history.samples("signs", "1", 0.0, 1e9)[""]
    assert len(points) == MOST_POINTS
    assert max(point["score"] for point in points) == 1.0


def test_a_second_writer_is_refused(store: Store) -> None:
    with pytest.raises(DashboardError, match="another dashboard is writing to"):
        Store(store.path, TOPICS, keep_days=90)


def test_a_history_of_other_topics_is_refused_and_can_be_opened_again(file: Path) -> None:
    Store(file, TOPICS, keep_days=90).__exit__()
    with pytest.raises(DashboardError, match=r"belongs to the topics alerts .*vision.alerts"):
        Store(file, [f"vision.{topic}" for topic in TOPICS], keep_days=90)
    Store(file, TOPICS, keep_days=90).__exit__()


def test_a_file_that_is_not_a_history_is_left_alone(file: Path) -> None:
    file.write_text("somebody's notes, longer than the header of a database file " * 20)
    with pytest.raises(DashboardError, match="not a dashboard's history"):
        Store(file, TOPICS, keep_days=90)
    file.unlink()
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(DashboardError, match="another program's file"):
        Store(file, TOPICS, keep_days=90)
