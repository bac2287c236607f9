"""What holds for every stream: restarts, re-deliveries and early closes change no number."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey, Output
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.settings import Settings

KEY = LaneKey("signs", "1", 3)
POLICY = Policy(
    average_run_length=20_000, resolve_after_requests=64, allowed_lateness_ns=HOUR_NS // 2
)
TOPICS = Settings().topics()


@dataclass(frozen=True)
class Step:
    """One message, and what the worker does after it."""

    rows: int
    scale: float
    half_hours: int
    spread: bool
    after: frozenset[str] = field(default_factory=frozenset)


def steps(*after: str) -> st.SearchStrategy[list[Step]]:
    """Messages of some hours, out of order at times; `after` is what may follow each."""
    step = st.builds(
        Step,
        rows=st.integers(1, 48),
        scale=st.sampled_from([1.0, 1.0, 4.0]),
        half_hours=st.integers(0, 6),
        spread=st.booleans(),
        after=st.frozensets(st.sampled_from(after)) if after else st.just(frozenset()),
    )
    return st.lists(step, min_size=1, max_size=14)


def batches(traffic: Any, stream: list[Step]) -> list[ActivationBatch]:
    """The messages, with the times of some spread over two hours."""
    found = []
    for number, step in enumerate(stream):
        first = traffic.start_ns + step.half_hours * HOUR_NS // 2
        gap = HOUR_NS // 20 if step.spread else 10**9
        times = [first + row * gap for row in range(step.rows)]
        found.append(traffic.batch(number, step.rows, scale=step.scale, times_ns=times))
    return found


def published(outputs: list[Output]) -> list[tuple[str, bytes, bytes]]:
    """Topic, key and value of each output."""
    records = [
        output.event(20_000).to_record(TOPICS)
        if isinstance(output, AlertChange)
        else output.to_record(TOPICS)
        for output in outputs
    ]
    return [(record.topic, record.key, record.value or b"") for record in records]


def rows_by_hour(parts: list[HourPart]) -> Counter[int]:
    """Rows that distinct parts tell of, by hour."""
    distinct = {part.key: part for part in parts}
    total: Counter[int] = Counter()
    for part in distinct.values():
        total[part.hour] += part.tally.sketch.rows
    return +total


def rows_sent(sent: list[ActivationBatch]) -> Counter[int]:
    """Rows of the messages, by hour."""
    return Counter(int(time) // HOUR_NS for batch in sent for time in batch.event_time_ns)


@settings(max_examples=30, deadline=None)
@given(stream=steps("restart", "deliver again"))
def test_restarts_and_redeliveries_give_the_same_bytes(traffic: Any, stream: list[Step]) -> None:
    messages = batches(traffic, stream)
    undisturbed, lane = Lane(KEY, traffic.baseline, POLICY), Lane(KEY, traffic.baseline, POLICY)
    for offset, (step, batch) in enumerate(zip(stream, messages, strict=True)):
        assert published(lane.take(batch, offset)) == published(undisturbed.take(batch, offset))
        if "restart" in step.after:
            lane = Lane.from_bytes(lane.to_bytes(), traffic.baseline, POLICY)
        if "deliver again" in step.after:
            for earlier in range(offset + 1):
                assert lane.take(messages[earlier], earlier) == []
    assert published(lane.close()) == published(undisturbed.close())
    assert lane.to_bytes() == undisturbed.to_bytes()


@settings(max_examples=30, deadline=None)
@given(stream=steps("store", "crash"))
def test_what_is_emitted_again_after_a_crash_is_the_same(traffic: Any, stream: list[Step]) -> None:
    messages = batches(traffic, stream)
    reference = Lane(KEY, traffic.baseline, POLICY)
    expected = [published(reference.take(batch, o)) for o, batch in enumerate(messages)]
    lane = Lane(KEY, traffic.baseline, POLICY)
    stored, resume = lane.to_bytes(), 0
    for offset, step in enumerate(stream):
        assert published(lane.take(messages[offset], offset)) == expected[offset]
        if "crash" in step.after:
            lane = Lane.from_bytes(stored, traffic.baseline, POLICY)
            for again in range(resume, offset + 1):
                assert published(lane.take(messages[again], again)) == expected[again]
        if "store" in step.after:
            stored, resume = lane.to_bytes(), offset + 1
    assert published(lane.close()) == published(reference.close())


@settings(max_examples=30, deadline=None)
@given(stream=steps("close", "restart"), judged=st.booleans())
def test_every_row_is_emitted_once_however_often_hours_are_closed_early(
    traffic: Any, stream: list[Step], judged: bool
) -> None:
    found = traffic.baseline if judged else None
    messages, parts = batches(traffic, stream), []
    lane = Lane(KEY, found, POLICY)
    for offset, (step, batch) in enumerate(zip(stream, messages, strict=True)):
        outputs = lane.take(batch, offset)
        if "close" in step.after:
            outputs += lane.close()
            assert not lane.has_pending
        if "restart" in step.after:
            lane = Lane.from_bytes(lane.to_bytes(), found, POLICY)
        parts += [output for output in outputs if isinstance(output, HourPart)]
    parts += [output for output in lane.close() if isinstance(output, HourPart)]
    assert len({part.key for part in parts}) == len(parts)
    assert rows_by_hour(parts) == rows_sent(messages)
    if judged:
        assert sum(part.tally.windows for part in parts) == sum(map(len, messages)) // 32


@settings(max_examples=40, deadline=None)
@given(stream=steps("close", "store", "crash before the state", "crash before the parts"))
def test_every_row_is_emitted_once_whenever_the_worker_dies(
    traffic: Any, stream: list[Step]
) -> None:
    """The wall clock closes hours at moments that do not come again after a crash."""
    messages = batches(traffic, stream)
    lane = Lane(KEY, traffic.baseline, POLICY)
    stored, resume = lane.to_bytes(), 0
    topic: list[HourPart] = []
    pending: list[Output] = []
    for offset, step in enumerate([*stream, Step(1, 1.0, 0, False, frozenset({"close", "store"}))]):
        for taken in range(resume, min(offset + 1, len(messages))):
            pending += lane.take(messages[taken], taken)
        if "close" in step.after:
            pending += lane.close()
        if "crash before the state" in step.after:
            lane, pending = Lane.from_bytes(stored, traffic.baseline, POLICY), []
            topic += lane.take_outbox()
        elif "store" in step.after:
            stored, resume = lane.to_bytes(), offset + 1
            emitted, pending = [*lane.take_outbox()], []
            if "crash before the parts" in step.after:
                lane = Lane.from_bytes(stored, traffic.baseline, POLICY)
                emitted = lane.take_outbox()
            topic += emitted
    contents: dict[bytes, bytes] = {}
    for part in topic:
        assert contents.setdefault(part.key, part.to_bytes()) == part.to_bytes()
    assert rows_by_hour(topic) == rows_sent(messages)


@settings(max_examples=30, deadline=None)
@given(stream=steps("close", "another baseline", "no baseline", "the baseline"))
def test_every_row_is_emitted_once_however_baselines_change(
    traffic: Any, stream: list[Step]
) -> None:
    messages, outputs = batches(traffic, stream), []
    found = {
        "another baseline": traffic.other_baseline,
        "no baseline": None,
        "the baseline": traffic.baseline,
    }
    lane = Lane(KEY, None, POLICY)
    for offset, (step, batch) in enumerate(zip(stream, messages, strict=True)):
        outputs += lane.take(batch, offset)
        for change in sorted(step.after & set(found)):
            lane = Lane.from_bytes(lane.to_bytes(), found[change], POLICY)
            assert lane.has_baseline is (found[change] is not None)
        if "close" in step.after:
            outputs += lane.close()
    outputs += lane.close()
    parts = [output for output in outputs if isinstance(output, HourPart)]
    assert len({part.key for part in parts}) == len(parts)
    assert rows_by_hour(parts) == rows_sent(messages)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 200),
    first=st.lists(st.integers(1, 60), max_size=8),
    second=st.lists(st.integers(1, 60), max_size=8),
)
def test_decisions_and_counts_do_not_depend_on_how_rows_are_cut_into_messages(
    traffic: Any, rows: int, first: list[int], second: list[int]
) -> None:
    """Only the offsets, and what follows from them, may differ."""
    drawn = traffic.draw(rows, np.random.default_rng(rows), scale=1.5)
    layers, predicted = drawn["activations"], drawn["predicted"]

    def emitted(cuts: list[int]) -> list[Any]:
        lane = Lane(KEY, traffic.baseline, POLICY)
        outputs, start = [], 0
        for offset, size in enumerate([*cuts, rows]):
            place = slice(start, min(start + size, rows))
            count = place.stop - place.start
            if count:
                batch = traffic.batch(
                    offset,
                    count,
                    activations={name: values[place] for name, values in layers.items()},
                    predicted=predicted[place],
                    times_ns=[traffic.start_ns + r * HOUR_NS // 80 for r in range(rows)][place],
                    request_ids=[str(row) for row in range(rows)][place],
                    input_refs=[None] * count,
                )
                outputs += lane.take(batch, offset)
            start = place.stop
        return [without_offsets(output) for output in [*outputs, *lane.close()]]

    assert emitted(first) == emitted(second)


def without_offsets(output: Output) -> Any:
    """What an output says, but for the places in the topic."""
    if isinstance(output, AlertChange):
        alert = output.alert
        values = replace(alert.peak, offsets=[], most_suspicious=[])
        return alert.status, alert.first_event_time_ns, alert.last_event_time_ns, values
    tally = output.tally
    sketch = tally.sketch
    return (
        output.part,
        output.hour,
        (tally.windows, tally.alarms, tally.late, sketch.rows, sketch.time_range),
        sketch.sums.tolist(),
        sketch.histogram.tolist(),
        sorted(suspect.request_id for suspect in sketch.suspects),
    )
