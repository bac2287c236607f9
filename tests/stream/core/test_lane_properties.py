"""The promise of exactness: the same rows give the same outputs, however they come."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentwatch.detector import Baseline
from latentwatch.stream.core.alerts import Alert
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey, Output
from latentwatch.stream.core.policy import Policy

ROWS = 420
ATTACKED = range(150, 260)
KEY = LaneKey("signs", "1", 0)

cuts = st.lists(st.integers(1, ROWS - 1), unique=True, max_size=12).map(sorted)


class Stream:
    """One stream of rows, cut into messages in any way; each row keeps its content."""

    def __init__(self, requests: Any) -> None:
        import numpy as np

        benign = requests.batch(0, ROWS)
        attack = requests.batch(0, ROWS, attacked=True)
        hit = np.isin(np.arange(ROWS), ATTACKED)[:, None]
        self._layers = {
            name: np.where(hit, attack.activations[name], benign.activations[name])
            for name in benign.activations
        }
        self._requests = requests

    def messages(self, cuts: list[int]) -> Iterator[tuple[int, Any]]:
        """Offset and batch; the offset of a message is the number of its last row."""
        ends = [*cuts, ROWS]
        for first, end in zip([0, *cuts], ends, strict=True):
            layers = {name: values[first:end] for name, values in self._layers.items()}
            batch = self._requests.decoded(first, end - first, activations=layers)
            yield end - 1, batch


@pytest.fixture(scope="module")
def stream(requests: Any) -> Stream:
    return Stream(requests)


def plain(output: Output) -> bytes:
    return output.to_bytes() if isinstance(output, HourPart) else repr(output).encode()


def without_offsets(outputs: list[Output]) -> list[Any]:
    """All that must not depend on how rows were cut into messages: offsets do."""
    found: list[Any] = []
    for output in outputs:
        if isinstance(output, AlertChange):
            found.append((output.alert.status, decided(output.alert)))
        else:
            found.append((output.part, output.hour, summed(output.tally)))
    return found


def decided(alert: Alert) -> dict[str, Any]:
    kept = ("score", "p_value", "requests", "event_time_ns", "layers", "contamination", "pattern")
    return {name: getattr(alert.peak, name) for name in kept}


def summed(tally: Tally) -> tuple[Any, ...]:
    sketch = tally.sketch
    return (
        sketch.rows,
        sketch.sums.tobytes(),
        sketch.lengths.tobytes(),
        sketch.histogram.tobytes(),
        [(s.request_id, s.p_value) for s in sketch.suspects],
        (tally.windows, tally.alarms, tally.late),
    )


def run(lane: Lane, messages: Any) -> list[Output]:
    outputs: list[Output] = []
    for offset, batch in messages:
        outputs += lane.take(batch, offset)
    return outputs


@settings(max_examples=30, deadline=None)
@given(cuts=cuts)
def test_other_messages_of_the_same_rows_give_the_same_outputs(
    stream: Stream, baseline: Baseline, policy: Policy, cuts: list[int]
) -> None:
    expected = run(Lane(KEY, baseline, policy), stream.messages([]))
    found = run(Lane(KEY, baseline, policy), stream.messages(cuts))
    # hours close at the end of a block, whatever the messages
    assert without_offsets(found) == without_offsets(expected)
    assert any(isinstance(output, AlertChange) for output in expected)


@settings(max_examples=30, deadline=None)
@given(cuts=cuts, data=st.data())
def test_restarts_and_redeliveries_give_the_same_bytes(
    stream: Stream, baseline: Baseline, policy: Policy, cuts: list[int], data: st.DataObject
) -> None:
    messages = list(stream.messages(cuts))
    expected = run(Lane(KEY, baseline, policy), messages)
    outputs: dict[bytes, bytes] = {}
    lane = Lane(KEY, baseline, policy)
    place, restarts = 0, 0
    stored = (lane.to_bytes(), 0)
    while place < len(messages):
        offset, batch = messages[place]
        for output in lane.take(batch, offset):
            outputs[identity(output)] = plain(output)
        place += 1
        if data.draw(st.booleans(), label="store the state"):
            stored = (lane.to_bytes(), place)
        if restarts < 5 and data.draw(st.booleans(), label="die"):
            restarts += 1
            lane = Lane.from_bytes(stored[0], baseline, policy)
            # acknowledged is at most what the state has taken in
            place = data.draw(st.integers(0, stored[1]), label="acknowledged")
    assert outputs == {identity(output): plain(output) for output in expected}


def identity(output: Output) -> bytes:
    """What a reader of a compacted topic tells records by."""
    if isinstance(output, HourPart):
        return output.key
    alert = output.alert
    return f"{alert.id} {alert.status} {alert.last_event_time_ns}".encode()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=cuts, data=st.data())
def test_every_row_is_emitted_once_under_any_interleaving_of_silence_and_restarts(
    stream: Stream, baseline: Baseline, policy: Policy, cuts: list[int], data: st.DataObject
) -> None:
    lane = Lane(KEY, data.draw(st.sampled_from([baseline, None])), policy)
    parts: dict[bytes, HourPart] = {}
    for offset, batch in stream.messages(cuts):
        outputs = lane.take(batch, offset)
        if data.draw(st.booleans(), label="silence"):
            outputs += lane.close()
        parts |= {output.key: output for output in outputs if isinstance(output, HourPart)}
        if data.draw(st.booleans(), label="restart"):
            lane = Lane.from_bytes(lane.to_bytes(), baseline, policy)
        elif not lane.has_baseline and data.draw(st.booleans(), label="baseline found"):
            lane.adopt(baseline)
    parts |= {part.key: part for part in lane.close() if isinstance(part, HourPart)}
    rows: dict[int, int] = {}
    for part in parts.values():
        rows[part.hour] = rows.get(part.hour, 0) + part.tally.sketch.rows
    assert sorted(rows.values()) == [20, 100, 100, 100, 100]
    assert not lane.has_pending
