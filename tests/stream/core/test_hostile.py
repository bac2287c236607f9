"""Hostile rows that are well-formed messages: bounded state, and no effect on anybody else."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from latentwatch.producers.wire import ActivationBatch, encode
from latentwatch.stream.core.events import CUT_BYTES, DEAD_LETTER_ROOM
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.processor import MOST_LANES, MOST_READY, Incoming
from latentwatch.stream.core.times import HOUR_NS
from tests.fuzz.invariants import CLASSES, LAYERS, NOW_NS, TOPICS, make_processor

MOST_BYTES = 16 << 20


def message(offset: int, rows: int = 32, partition: int = 0, **changes: Any) -> Incoming:
    """Sound rows of signs/1 a minute before now, but for what is changed."""
    rng = np.random.default_rng(offset)
    fields: dict[str, Any] = {
        "model": "signs",
        "version": "1",
        "activations": {
            name: rng.standard_normal((rows, width)).astype(np.float32)
            for name, width in LAYERS.items()
        },
        "predicted": (np.arange(rows) % CLASSES).astype(np.int32),
        "event_time_ns": np.full(rows, NOW_NS - 60 * 10**9),
        "request_ids": [f"{offset}-{row}" for row in range(rows)],
        "source": "/services/test",
        "event_id": f"e{offset}",
        "time": "2024-05-01T00:00:00Z",
        **changes,
    }
    key, value, headers = encode(ActivationBatch(**fields))
    return Incoming(partition, offset, key, value, headers)


def reasons(records: list[Any]) -> list[str]:
    return [
        dict(record.headers)["latentwatch-reason"].decode()
        for record in records
        if record.topic == TOPICS.dead_letter
    ]


def hours_emitted(records: list[Any]) -> list[tuple[str, int]]:
    parts = [HourPart.from_bytes(r.value) for r in records if r.topic == TOPICS.hour_sketches]
    return [(part.model, part.hour) for part in parts]


@pytest.mark.parametrize("model", ["signs", "ghost"])
def test_rows_of_a_thousand_hours_are_published_before_more_are_taken(model: str) -> None:
    processor = make_processor()
    hours = (NOW_NS // HOUR_NS - np.arange(1, 1025)) * HOUR_NS
    left = [message(n, 1024, model=model, event_time_ns=hours) for n in range(3)]
    rounds = 0
    while left:
        before = len(left)
        records, left = processor.take_some(left)
        assert len(records) <= MOST_READY + 2048
        rounds += 1
        assert before - len(left) <= 2
        processor.emitted()
        (state,) = processor.states().values()
        # once the parts are published, the state no longer carries them
        assert len(state) < 100_000
    assert rounds >= 2


def test_a_state_that_carries_no_parts_goes_on_as_one_that_does() -> None:
    one, other = make_processor(), make_processor()
    hours = (NOW_NS // HOUR_NS - np.arange(1, 65)) * HOUR_NS
    for processor in (one, other):
        processor.take([message(0, 64, event_time_ns=hours)])
    one.emitted()
    for processor in (one, other):
        processor.states()
    rest = [message(n) for n in range(1, 5)]
    assert one.take(rest) == other.take(rest)
    assert one.states() == other.states()


def test_a_clock_that_is_ahead_closes_the_hours_of_its_own_lane_alone() -> None:
    processor = make_processor()
    this_hour = np.full(32, NOW_NS - HOUR_NS)
    processor.take(
        [
            message(0, event_time_ns=this_hour),
            message(1, event_time_ns=this_hour, model="ghost"),
            message(0, event_time_ns=this_hour, partition=1),
        ]
    )
    # as far ahead as a clock may be, and beyond it
    emitted = processor.take([message(2, event_time_ns=np.full(32, NOW_NS))])
    assert hours_emitted(emitted) == []
    emitted = processor.take(
        [
            message(3, event_time_ns=np.full(32, NOW_NS + 1)),
            message(4, model="ghost", event_time_ns=np.full(32, NOW_NS - HOUR_NS)),
        ]
    )
    assert reasons(emitted) == ["bad-time"]
    assert hours_emitted(emitted) == []
    # the same hour, closed by the clock of signs on partition 0: the others are open still
    (emitted_here,) = hours_emitted(processor.idle(0, "ghost", "1"))
    assert emitted_here == ("ghost", NOW_NS // HOUR_NS - 1)
    assert hours_emitted(processor.idle(1, "signs", "1")) == [("signs", NOW_NS // HOUR_NS - 1)]


def test_thousands_of_model_names_take_the_memory_of_a_few() -> None:
    processor = make_processor()
    first = message(0, 1)
    refused = 0

    def named(offset: int) -> Incoming:
        name = f"m{offset}".encode()
        headers = [(k, name if k == "ce_modelname" else v) for k, v in first.headers]
        return Incoming(0, offset, None, first.value, headers)

    processor.take([named(n) for n in range(2 * MOST_LANES)])
    processor.states()
    tracemalloc.start()
    for start in range(1000, 2_500, 250):
        refused += len(reasons(processor.take([named(n) for n in range(start, start + 250)])))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused == 1_500
    assert kept < 1 << 19
    assert processor.take([named(MOST_LANES - 1)._replace(offset=20_000)]) == []


def test_a_message_beyond_what_a_topic_takes_is_cut_and_says_so() -> None:
    sound = message(0)
    huge = sound._replace(value=bytes(MOST_BYTES + DEAD_LETTER_ROOM + 1))
    (letter,) = make_processor().take([huge])
    headers = dict(letter.headers)
    assert headers["latentwatch-reason"] == b"too-large"
    assert letter.value == bytes(CUT_BYTES)
    assert b"1024 are kept" in headers["latentwatch-cut"]
    assert "ce_id" not in headers
    many = Incoming(0, 0, b"k", b"v", [("h", bytes(1 << 20))] * 20)
    (letter,) = make_processor().take([many])
    assert sum(len(value or b"") for _, value in letter.headers) < 1000


def test_duplicates_are_counted_and_judged_once() -> None:
    processor = make_processor()
    one = message(0, 32)
    processor.take([one, *(one._replace(offset=n) for n in range(1, 20))])
    (record,) = processor.idle(0, "signs", "1")
    sketch = HourPart.from_bytes(record.value or b"").tally.sketch
    assert (sketch.rows, sketch.judged) == (20 * 32, 32)


@pytest.mark.parametrize(
    "value",
    [1e-45, -1e-38, 65504.0, 3.4e38, -3.4e38],
    ids=["denormal", "tiny", "half", "max", "min"],
)
def test_extreme_finite_rows_are_judged(value: float) -> None:
    processor = make_processor()
    layers = {name: np.full((64, width), value, np.float32) for name, width in LAYERS.items()}
    # the last value of each differs, or the rows would be repeats
    for layer in layers.values():
        layer[:, 0] = np.random.default_rng(0).standard_normal(64)
    records = processor.take([message(0, 64, activations=layers)])
    assert reasons(records) == []
    (record,) = processor.idle(0, "signs", "1")
    assert HourPart.from_bytes(record.value or b"").tally.sketch.judged == 64
