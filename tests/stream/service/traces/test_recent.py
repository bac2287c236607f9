"""Trace parents of the newest messages: whose they are, and what they may cost."""

import numpy as np
import pytest

from latentwatch.producers.wire import ActivationBatch, encode, traces_of
from latentwatch.stream.core.processor import Incoming
from latentwatch.stream.service.traces.recent import OVERHEAD_BYTES, RecentTraces


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def incoming(offset: int, traces: list[str | None]) -> Incoming:
    rows = len(traces)
    key, value, headers = encode(
        ActivationBatch(
            model="signs",
            version="1",
            activations={"deep": np.ones((rows, 3), np.float32)},
            predicted=np.zeros(rows, np.int32),
            event_time_ns=np.full(rows, 10**18),
            request_ids=[f"r{offset}-{row}" for row in range(rows)],
            source="/test",
            **traces_of(traces)._asdict(),
        )
    )

    return Incoming(2, offset, key, value, headers)


def test_each_request_has_its_own_trace() -> None:
    recent = RecentTraces()
    recent.add([incoming(4, [trace(1), None, trace(3)]), incoming(5, [trace(9), trace(9)])])

    found = [recent.find(2, 4, f"r4-{row}") for row in range(3)]
    assert found == [trace(1), None, trace(3)]
    assert recent.find(2, 5, "r5-1") == trace(9)


def test_what_is_not_there_has_no_trace() -> None:
    recent = RecentTraces()
    recent.add([incoming(4, [trace(1), trace(2)]), incoming(6, [None])])

    assert recent.find(2, 4, "somebody else") is None
    assert recent.find(0, 4, "r4-0") is None
    assert recent.find(2, 6, "r6-0") is None


@pytest.mark.parametrize("length", [b"", b"x", b"9" * 5000, b"7"])
def test_a_message_that_is_refused_does_no_harm(length: bytes) -> None:
    message = incoming(4, [trace(1), trace(2)])
    headers = [(n, length if n.startswith("inference") else v) for n, v in message.headers]
    recent = RecentTraces()
    recent.add([message._replace(headers=headers), message._replace(offset=5, value=None)])

    assert recent.find(2, 4, "r4-0") is None
    assert recent.find(2, 5, "r4-0") is None


def test_the_oldest_are_forgotten_and_a_second_delivery_counts_once() -> None:
    recent = RecentTraces(most_bytes=2 * OVERHEAD_BYTES)
    messages = [incoming(offset, [trace(offset + 1)]) for offset in range(3)]

    recent.add([messages[0], messages[1], messages[1]])
    assert recent.find(2, 0, "r0-0") == trace(1)
    recent.add([messages[2]])

    assert recent.find(2, 0, "r0-0") is None
    assert [recent.find(2, o, f"r{o}-0") for o in (1, 2)] == [trace(2), trace(3)]
