"""The bounded buffer: which rows it returns, and that its counters add up."""

import threading

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.producers import Counters
from latentwatch.producers._buffer import RowBuffer
from latentwatch.producers._rows import Rows, prepare


def make_rows(ids: list[str], width: int = 2) -> Rows:
    activations = {"x": np.zeros((len(ids), width), np.float32)}
    return prepare(activations, np.zeros(len(ids), int), ids, None, None, None)


def assert_balanced(counters: Counters) -> None:
    parts = (counters.sent, counters.dropped, counters.failed, counters.sampled_out)
    assert counters.published == sum(parts) + counters.queued
    assert min(*parts, counters.queued) >= 0


def test_calls_are_joined_up_to_the_row_limit_in_order() -> None:
    buffer = RowBuffer(100)
    for text in ("abc", "de", "fghij"):
        assert buffer.add([make_rows([*text])])

    taken = [buffer.take(4, 10**6) for _ in range(4)]

    assert ["".join(rows.request_ids) if rows else None for rows in taken] == [
        "abcd",
        "efgh",
        "ij",
        None,
    ]


def test_a_message_holds_no_more_values_than_allowed_but_at_least_one_row() -> None:
    buffer = RowBuffer(100)
    buffer.add([make_rows([*"abcdef"], width=10)])

    sizes = [len(rows) for rows in (buffer.take(128, 25), buffer.take(128, 5)) if rows]

    assert sizes == [2, 1]


def test_a_message_never_mixes_layouts_or_repeats_an_id() -> None:
    buffer = RowBuffer(100)
    for rows in (make_rows(["a"]), make_rows(["b"], width=3), make_rows(["c"], width=3)):
        buffer.add([rows])
    buffer.add([make_rows(["d", "b"], width=3)])

    taken = [buffer.take(128, 10**6) for _ in range(4)]

    assert [rows.request_ids if rows else None for rows in taken] == [
        ["a"],
        ["b", "c"],
        ["d", "b"],
        None,
    ]


def test_a_call_that_does_not_fit_is_dropped_whole() -> None:
    buffer = RowBuffer(3)

    assert buffer.add([make_rows([*"ab"])])
    assert not buffer.add([make_rows([*"cd"])], sampled_out=5)
    assert buffer.add([make_rows(["e"])])

    assert buffer.counters == Counters(published=10, dropped=2, sampled_out=5, queued=3)
    assert_balanced(buffer.counters)


def test_rows_count_against_the_capacity_until_the_broker_has_answered() -> None:
    buffer = RowBuffer(2)
    buffer.add([make_rows([*"ab"])])
    buffer.take(128, 10**6)

    assert not buffer.add([make_rows(["c"])])
    buffer.settle(2, sent=True)
    assert buffer.add([make_rows(["d"])])
    assert (buffer.counters.sent, buffer.counters.messages_sent) == (2, 1)


def test_a_closed_buffer_accepts_nothing() -> None:
    buffer = RowBuffer(10)
    buffer.add([make_rows(["a"])])
    buffer.close()

    assert not buffer.add([make_rows(["b"])])
    buffer.discard()
    assert buffer.counters == Counters(published=2, dropped=2)
    assert buffer.take(1, 1) is None


STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 6)),
    st.tuples(st.just("take"), st.integers(1, 8)),
    st.tuples(st.just("sent"), st.integers(0, 3)),
    st.tuples(st.just("failed"), st.integers(0, 3)),
    st.tuples(st.just("refuse"), st.integers(0, 3)),
    st.tuples(st.just("discard"), st.just(0)),
)


@given(st.lists(STEPS, max_size=40), st.integers(1, 20))
def test_the_counters_add_up_after_every_step(steps: list[tuple[str, int]], capacity: int) -> None:
    buffer, flying, number = RowBuffer(capacity), [], 0
    for kind, size in steps:
        if kind == "add":
            ids = [str(number + offset) for offset in range(size)]
            number += size
            buffer.add([make_rows(ids)], sampled_out=size % 2)
        elif kind == "take":
            rows = buffer.take(size, 10**6)
            flying += [len(rows)] if rows else []
        elif kind in ("sent", "failed") and flying:
            buffer.settle(flying.pop(), sent=kind == "sent")
        elif kind == "refuse":
            buffer.refuse(size)
        elif kind == "discard":
            buffer.discard()
        assert_balanced(buffer.counters)
        assert buffer.counters.queued == sum(flying) + buffer.waiting <= capacity


def test_threads_lose_no_count() -> None:
    buffer = RowBuffer(50)
    stop = threading.Event()

    def drain() -> None:
        while not (stop.is_set() and buffer.waiting == 0):
            rows = buffer.take(7, 10**6)
            if rows:
                buffer.settle(len(rows), sent=True)

    def fill(name: str) -> None:
        for number in range(200):
            buffer.add([make_rows([f"{name}{number}", f"{name}{number}b"])])

    drainer = threading.Thread(target=drain)
    fillers = [threading.Thread(target=fill, args=(name,)) for name in "abc"]
    for thread in (drainer, *fillers):
        thread.start()
    for thread in fillers:
        thread.join()
    stop.set()
    drainer.join()

    counters = buffer.counters
    assert counters.published == 1200 == counters.sent + counters.dropped
    assert counters.queued == 0
