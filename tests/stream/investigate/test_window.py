"""The requests of an alert's window, found and judged again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentwatch.detector import Baseline, Monitor
from latentwatch.stream.investigate import (
    InvestigationError,
    Judged,
    LaneRows,
    WindowAlert,
    judge_again,
    rows_around,
)
from latentwatch.stream.investigate.lane_rows import RecordedMessages
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from tests.stream.investigate.conftest import POLICY, Incident


def test_the_window_is_the_one_that_the_monitor_judged_to_the_last_bit(
    incident: Incident, judged: Judged, alert: WindowAlert, signs_baseline: Baseline
) -> None:
    own = [message for message in incident.messages if message.batch.model == "signs"]
    lane = LaneRows.of(own, signs_baseline)
    monitor = Monitor(
        signs_baseline, average_run_length=POLICY.average_run_length, partition=alert.partition
    )
    decisions = [d for _, d in monitor.push(lane.rows, lane.predicted, lane.requests)]
    highest = max(decisions, key=lambda decision: decision.score)
    window = judged.window
    again = signs_baseline.sketch(judged.features.take(window), judged.rows.take(window).requests)
    assert highest.score == alert.score
    assert again == highest.sketch
    assert judged.difference == 0.0


def test_the_window_begins_and_ends_within_messages(judged: Judged, alert: WindowAlert) -> None:
    offsets = judged.rows.offsets
    window = offsets[judged.window]
    assert (window[0], window[-1]) == (alert.first_offset, alert.last_offset)
    assert offsets[judged.start - 1] == alert.first_offset
    assert offsets[judged.window.stop] == alert.last_offset


def test_the_monitor_says_the_same_of_the_window_as_the_worker_did(
    judged: Judged, alert: WindowAlert
) -> None:
    decision = judged.decisions[judged.window.stop // 32 - 1]
    assert decision.score == alert.score
    assert decision.sketch.rows == alert.requests
    assert {n: v.T for n, v in decision.views.items()} == {
        name: known["T"] for name, known in alert.statistics.items()
    }


def test_roundings_of_another_processor_are_reported_and_tolerated(
    judge: Callable[[WindowAlert], Judged], judged: Judged, alert: WindowAlert
) -> None:
    rounded = {n: known | {"T": known["T"] * (1 + 1e-5)} for n, known in alert.statistics.items()}
    found = judge(replace(alert, statistics=rounded))
    assert found.start == judged.start
    assert found.difference == pytest.approx(1e-5, rel=0.01)


def test_requests_that_are_not_those_of_the_alert_are_refused(
    judge: Callable[[WindowAlert], Judged], alert: WindowAlert
) -> None:
    other = {n: known | {"T": known["T"] * 1.5} for n, known in alert.statistics.items()}
    with pytest.raises(InvestigationError, match="do not give the statistics of alert"):
        judge(replace(alert, statistics=other))
    with pytest.raises(InvestigationError, match="do not give the statistics of alert"):
        judge(replace(alert, last_ns=alert.last_ns + 1))


def test_a_recording_that_begins_too_late_is_named(
    incident: Incident, alert: WindowAlert, signs_baseline: Baseline, tmp_path: Path
) -> None:
    writer = RecordingWriter(RecordingFiles(str(tmp_path)), most_bytes=10**9, most_seconds=9)
    for message in incident.messages[alert.first_offset + 1 :]:
        writer.add(message, now=0.0)
    writer.flush_all()
    source = RecordedMessages(str(tmp_path), "signs", "7", alert.partition)
    with pytest.raises(
        InvestigationError, match=r"needs the messages at offsets 23 to \d+, and .* only offsets 24"
    ):
        rows_around(source, alert, signs_baseline)
    elsewhere = RecordedMessages(incident.recording, "signs", "7", 5)
    with pytest.raises(InvestigationError, match="partition 5 has nothing"):
        rows_around(elsewhere, alert, signs_baseline)


def test_a_window_at_the_beginning_of_what_is_left_is_found_still(
    incident: Incident, alert: WindowAlert, signs_baseline: Baseline, tmp_path: Path
) -> None:
    writer = RecordingWriter(RecordingFiles(str(tmp_path)), most_bytes=10**9, most_seconds=9)
    for message in incident.messages[alert.first_offset : alert.last_offset + 1]:
        writer.add(message, now=0.0)
    writer.flush_all()
    source = RecordedMessages(str(tmp_path), "signs", "7", alert.partition)
    found = judge_again(rows_around(source, alert, signs_baseline), alert, signs_baseline)
    assert found.difference == 0.0
    assert found.start == 0


def test_only_a_stretch_around_the_window_is_judged(
    incident: Incident, judged: Judged, signs_baseline: Baseline
) -> None:
    longest = signs_baseline.longest_window
    assert 2 * longest < judged.start <= 3 * longest
    assert np.all(np.diff(judged.rows.offsets) >= 0)
    assert judged.rows.offsets[-1] < len(incident.messages)
