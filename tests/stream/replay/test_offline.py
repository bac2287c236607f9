"""Decisions without a broker: whatever the order of the partitions, and with other settings."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.outputs import Outputs, output_roles
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.recording import RecordedMessage, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.replay.offline import OfflineReplay, one_baseline
from latentwatch.stream.replay.partitions import replay_recording
from latentwatch.stream.settings import Settings

SETTINGS = Settings(
    average_run_length=100_000, resolve_after_requests=64, allowed_lateness_seconds=0
)


def messages_of(traffic: Any, partition: int) -> list[RecordedMessage]:
    """Two hours of one partition, the second attacked."""
    made = []
    for number in range(12):
        first = traffic.start_ns + (number // 6) * HOUR_NS + number * 10**9
        batch = traffic.batch(
            100 * partition + number,
            20 + partition,
            scale=4.0 if number >= 6 and number % 3 == 0 else 1.0,
            times_ns=range(first, first + 20 + partition),
        )
        made.append(RecordedMessage(partition, number, batch))
    return made


def latest_of(records: Iterable[Record]) -> Outputs:
    outputs, roles = Outputs(), output_roles(SETTINGS.topics())
    for record in records:
        outputs.take(roles[record.topic], orjson.loads(record.value or b"")["data"])
    return outputs


def decide(baseline: Baseline | None, messages: Sequence[RecordedMessage]) -> Outputs:
    return latest_of(OfflineReplay(SETTINGS, lambda *_: baseline).run(messages))


@settings(max_examples=10, deadline=None)
@given(st.permutations([0] * 12 + [1] * 12 + [2] * 12))
def test_what_stands_in_the_end_does_not_depend_on_how_partitions_interleave(
    traffic: Any, order: list[int]
) -> None:
    streams = {partition: iter(messages_of(traffic, partition)) for partition in range(3)}
    found = decide(traffic.baseline, [next(streams[partition]) for partition in order])
    whole = [m for partition in range(3) for m in messages_of(traffic, partition)]
    expected = decide(traffic.baseline, whole)
    assert found.latest_alerts == expected.latest_alerts
    assert found.rates == expected.rates
    assert found.flagged == expected.flagged
    assert expected.flagged
    assert {row["requests"] for row in expected.rates.values()} == {6 * (20 + 21 + 22)}


def test_messages_that_do_not_fit_are_counted_and_the_others_judged(traffic: Any) -> None:
    bad = traffic.batch(0, predicted=np.full(16, 7, np.int32))
    good = traffic.batch(1)
    replaying = OfflineReplay(SETTINGS, lambda *_: traffic.baseline)
    messages = [RecordedMessage(0, 0, bad), RecordedMessage(0, 1, good)]
    found = latest_of(replaying.run(messages))
    assert dict(replaying.refused) == {"bad-class": 1}
    assert {row["requests"] for row in found.rates.values()} == {16}


def test_threads_change_nothing(traffic: Any) -> None:
    messages = [message for partition in (0, 1) for message in messages_of(traffic, partition)]
    alone = list(OfflineReplay(SETTINGS, lambda *_: traffic.baseline).run(messages))
    with ThreadPoolExecutor(3) as pool:
        together = list(OfflineReplay(SETTINGS, lambda *_: traffic.baseline, pool).run(messages))
    assert together == alone
    assert len({record.topic for record in alone}) == 3


def recording_of(traffic: Any, folder: Path, partitions: Sequence[int] = (0,)) -> Recording:
    writer = RecordingWriter(RecordingFiles(str(folder)), most_bytes=10**9, most_seconds=1e9)
    for partition in partitions:
        for message in messages_of(traffic, partition):
            writer.add(message, 0.0)
    writer.flush_all()
    return Recording(str(folder))


def test_a_process_for_each_partition_changes_nothing(traffic: Any, tmp_path: Path) -> None:
    recording = recording_of(traffic, tmp_path, (0, 1, 2))
    progress: list[tuple[int, int]] = []

    def decided(least_rows: int) -> Outputs:
        records, refused = replay_recording(
            recording,
            SETTINGS,
            lambda *_: traffic.baseline,
            lambda *done: progress.append(done),
            least_rows,
        )
        found = latest_of(records)
        assert not refused
        assert progress.pop() == (len(recording), len(recording))
        return found

    alone, together = decided(10**9), decided(0)
    assert together.latest_alerts == alone.latest_alerts
    assert together.rates == alone.rates
    assert together.flagged == alone.flagged
    assert alone.flagged


def test_a_baseline_of_another_version_may_be_tried_on_a_recording(
    traffic: Any, tmp_path: Path
) -> None:
    recording = recording_of(traffic, tmp_path)
    find = one_baseline(recording, traffic.other_baseline, SETTINGS)
    assert find("signs", "1") is traffic.other_baseline
    assert find("signs", "2") is None


def test_a_baseline_of_another_model_or_of_other_layers_is_refused(
    traffic: Any, tmp_path: Path
) -> None:
    recording = recording_of(traffic, tmp_path)
    rows = np.random.default_rng(0).standard_normal((600, 5))
    small: dict[str, Any] = {
        "longest_window": 64, "random_features": 32, "simulated_requests": 20_000
    }  # fmt: skip
    zeros = np.zeros(600, int)
    other = Baseline.fit({"deep": rows}, zeros, model="lights", version="1", **small)
    with pytest.raises(RecordingError, match=r"is of lights/1.*name a baseline of signs"):
        one_baseline(recording, other, SETTINGS)
    narrow = Baseline.fit({"deep": rows}, zeros, model="signs", version="1", **small)
    with pytest.raises(RecordingError, match=r"judges deep \(5\)"):
        one_baseline(recording, narrow, SETTINGS)


def test_a_message_over_two_hours_is_one_message_again(traffic: Any, tmp_path: Path) -> None:
    end = traffic.start_ns + HOUR_NS
    times = [end - 1, end, end - 2, end + 1] * 4
    batch: ActivationBatch = traffic.batch(0, times_ns=times)
    writer = RecordingWriter(RecordingFiles(str(tmp_path)), most_bytes=10**9, most_seconds=1e9)
    writer.add(RecordedMessage(0, 0, batch), 0.0)
    writer.flush_all()
    assert len(list(tmp_path.rglob("*.parquet"))) == 2
    (message,) = Recording(str(tmp_path)).messages()
    assert message.batch.request_ids == list(batch.request_ids)
    assert np.array_equal(message.batch.event_time_ns, times)
    assert decide(traffic.baseline, [message]).rates == (
        decide(traffic.baseline, [RecordedMessage(0, 0, batch)]).rates
    )
