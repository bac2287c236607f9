"""Rows between `publish` and a message: checked, sampled, split, cut, joined."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.producers import ProducerError
from latentwatch.producers._rows import Rows, finite_only, join, prepare, sample, split_duplicates


def make_rows(ids: list[str], **changes: Any) -> Rows:
    arguments: dict[str, Any] = {
        "activations": {"x": np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2)},
        "predicted": np.arange(len(ids)),
        "request_ids": ids,
        "event_time_ns": None,
        "input_refs": None,
        "traceparent": None,
    }
    return prepare(**(arguments | changes))


def test_arguments_become_arrays_of_the_wire_that_the_caller_may_overwrite() -> None:
    activations = np.ones((3, 2), np.float64)
    predicted = np.zeros(3, np.int64)

    rows = make_rows(["a", "b", "c"], activations={"x": activations}, predicted=predicted)
    activations[:] = 7
    predicted[:] = 7

    assert rows.activations["x"].dtype == np.dtype("<f4")
    assert (rows.activations["x"] == 1).all()
    assert rows.predicted.dtype == np.dtype("<i4")
    assert (rows.predicted == 0).all()
    assert (len(rows), rows.width, rows.input_refs) == (3, 2, [None] * 3)


def test_missing_ids_and_times_get_defaults() -> None:
    before = time.time_ns()
    rows = make_rows(["a", "b"], request_ids=None)

    assert len(set(rows.request_ids)) == 2
    assert (before <= rows.event_time_ns).all()
    assert (rows.event_time_ns <= time.time_ns()).all()


def test_one_time_applies_to_all_rows() -> None:
    assert make_rows(["a", "b"], event_time_ns=10**18).event_time_ns.tolist() == [10**18] * 2
    assert make_rows(["a"], event_time_ns=[10**18]).event_time_ns.tolist() == [10**18]


def test_an_id_that_cannot_be_sent_is_replaced_by_its_hash() -> None:
    long, lone, good = "x" * 257, "\ud800", "ü" * 256

    rows = make_rows(["", long, lone, good])

    assert rows.request_ids[3] == good
    replaced = rows.request_ids[:3]
    assert len(set(replaced)) == 3
    assert all(text.startswith("blake2b-") and len(text) == 40 for text in replaced)
    assert make_rows([long]).request_ids == [replaced[1]]


def test_a_link_that_cannot_be_sent_is_left_out() -> None:
    refs = ["s3://a", None, "", "x" * 2049, "\udfff"]

    assert make_rows([*"abcde"], input_refs=refs).input_refs == ["s3://a", *[None] * 4]


def test_clients_stay_distinguishable_whatever_their_names() -> None:
    long = "x" * 257
    clients = make_rows([*"abcdef"], clients=["alice", None, "", long, long, "\ud800"]).clients
    assert clients is not None
    assert clients[:2] == ["alice", None]
    assert clients[3] == clients[4]
    assert len(set(clients)) == 5
    assert all(text and text.startswith("blake2b-") for text in clients[2:])
    assert make_rows(["a", "b"], clients="alice").clients == ["alice", "alice"]
    assert make_rows(["a", "b"], clients=[None, None]).clients is None


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def test_a_trace_applies_to_all_rows_or_each_has_its_own() -> None:
    assert make_rows(["a", "b"], traceparent=trace(1)).traceparents == [trace(1)] * 2
    assert make_rows(["a", "b"], traceparent=[None, trace(2)]).traceparents == [None, trace(2)]
    assert make_rows(["a", "b"]).traceparents is None


def test_a_malformed_trace_costs_no_row() -> None:
    assert make_rows(["a"], traceparent="00-0-0-0").traceparents is None
    assert make_rows(["a", "b"], traceparent=[trace(10).upper(), trace(10)]).traceparents == [
        None,
        trace(10),
    ]


def test_rows_without_a_trace_join_those_with_one() -> None:
    parts = [make_rows(["a"]), make_rows(["b"], traceparent=trace(1)), make_rows(["c"])]

    whole = join(parts)

    assert whole.traceparents == [None, trace(1), None]
    assert whole.pick([2, 1]).traceparents == [None, trace(1)]
    assert join([parts[0], parts[2]]).traceparents is None


@pytest.mark.parametrize(
    "changes",
    [
        {"activations": {}},
        {"activations": None},
        {"activations": {"x": np.ones(2)}},
        {"activations": {"x": np.ones((3, 2))}},
        {"activations": {"x": np.ones((2, 0))}},
        {"activations": {"x": np.ones((2, 2), np.int64)}},
        {"activations": {"x": [["a", "b"], ["c", "d"]]}},
        {"activations": {"x": [[1.0], [1.0, 2.0]]}},
        {"predicted": [0.5, 1.0]},
        {"predicted": [-1, 0]},
        {"predicted": [0, 2**31]},
        {"predicted": [0]},
        {"predicted": 0},
        {"predicted": None},
        {"request_ids": ["a"]},
        {"request_ids": ["a", 1]},
        {"request_ids": 5},
        {"event_time_ns": 1.9e18},
        {"event_time_ns": 1_900_000_000},
        {"event_time_ns": [10**18]},
        {"event_time_ns": "now"},
        {"input_refs": ["a"]},
        {"input_refs": ["a", 1]},
        {"clients": ["a"]},
        {"clients": ["a", 1]},
        {"clients": 5},
        {"traceparent": [None]},
        {"traceparent": ["x", 1]},
        {"traceparent": 5},
    ],
)
def test_wrong_arguments_raise(changes: dict[str, Any]) -> None:
    with pytest.raises((ProducerError, TypeError, ValueError, AttributeError)):
        make_rows(["a", "b"], **changes)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=30), st.floats(0, 1), st.floats(0, 1))
def test_sampling_depends_on_the_id_alone_and_grows_with_the_rate(
    ids: list[str], first: float, second: float
) -> None:
    ids = [text for text in ids if text.isprintable()]
    low, high = sorted((first, second))

    few = sample(make_rows(ids), low).request_ids
    many = sample(make_rows(ids), high).request_ids
    alone = [text for text in ids if len(sample(make_rows([text]), low))]

    assert few == alone
    assert set(few) <= set(many)


def test_sampling_keeps_its_share() -> None:
    rows = make_rows([f"request-{number}" for number in range(10_000)])

    assert len(sample(rows, 0.0)) == 0
    assert sample(rows, 1.0) is rows
    # four standard deviations of a binomial of 10,000 draws at 0.3 are 183
    kept = sample(rows, 0.3)
    assert abs(len(kept) - 3000) < 190
    assert (kept.activations["x"][:, 0] == 2 * kept.predicted).all()


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_no_part_repeats_an_id_and_no_row_is_lost(ids: list[str]) -> None:
    parts = split_duplicates(make_rows(ids))

    assert all(len(set(part.request_ids)) == len(part) for part in parts)
    assert sorted(text for part in parts for text in part.request_ids) == sorted(ids)
    rows = sorted(int(number) for part in parts for number in part.predicted)
    assert rows == list(range(len(ids)))


def test_only_rows_with_nan_or_infinity_are_left_out() -> None:
    values = np.zeros((4, 2), np.float32)
    values[1, 1], values[3, 0] = np.nan, -np.inf
    other = np.zeros((4, 1), np.float16)
    other[0, 0] = np.inf
    rows = make_rows([*"abcd"], activations={"x": values, "y": other})

    assert finite_only(rows).request_ids == ["c"]
    clean = make_rows([*"abcd"])
    assert finite_only(clean) is clean


def test_values_beyond_float32_count_as_not_finite() -> None:
    rows = make_rows(["a", "b"], activations={"x": np.array([[1e300], [1.0]])})

    assert finite_only(rows).request_ids == ["b"]


@given(st.integers(0, 6), st.integers(0, 6))
def test_cut_rows_join_to_what_they_were(first: int, second: int) -> None:
    start, stop = sorted((first, second))
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traces = [trace, None, trace, None, None, trace]
    clients = ["alice", None, "bob", "alice", None, None]
    rows = make_rows([*"abcdef"], input_refs=[*"uvwxyz"], traceparent=traces, clients=clients)

    whole = join([rows.cut(0, start), rows.cut(start, stop), rows.cut(stop, 6)])

    assert (whole.request_ids, whole.input_refs) == (rows.request_ids, rows.input_refs)
    assert (whole.traceparents, whole.clients) == (traces, clients)
    assert rows.pick([5, 0]).clients == [None, "alice"]
    for name in ("predicted", "event_time_ns"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(rows, name))
    np.testing.assert_array_equal(whole.activations["x"], rows.activations["x"])
