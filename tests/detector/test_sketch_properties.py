"""Addition of sketches is exact, commutative and associative; damaged bytes are always noticed."""

import itertools
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.detector import Features, Requests, Sketch, SketchError

GROUPS, VIEWS, WIDTH = 3, 2, 4

# few different values, so that ties and equal requests occur
RANKS = st.sampled_from([1, 2, 20, 50, 51, 400, 1001])
INT64 = st.integers(-(2**62), 2**62)
ROW = st.tuples(
    RANKS,
    st.sampled_from([0.5, 1.0, 7.25]),
    st.sampled_from(["a", "b", "ü", ""]),
    st.integers(0, 3),
    st.one_of(st.sampled_from([0, 1]), INT64),
    st.one_of(st.sampled_from([0, 1]), st.integers(0, 2**62)),
    st.sampled_from([None, "", "s3://a", "s3://b"]),
)


def rows_to_parts(rows: list[tuple], seed: int, partition: int) -> tuple[Features, Requests]:
    rng = np.random.default_rng(seed)
    n = len(rows)
    columns = list(zip(*rows, strict=True)) or [()] * 7
    ranks, squared_distances, ids, predicted, times, offsets, refs = columns
    psi = rng.integers(-32767, 32768, (n, WIDTH)).astype(np.int16)
    exact = psi.astype(np.int64) ** 2
    features = Features(
        predicted=np.array(predicted, dtype=np.int64),
        groups=np.array(predicted, dtype=np.int64) % GROUPS,
        psi=psi,
        lengths=np.stack([exact[:, :1].sum(axis=1), exact[:, 1:].sum(axis=1)], axis=1),
        squared_distance=np.array([(e, 1.0) for e in squared_distances], dtype=np.float32).reshape(
            n, VIEWS
        ),
        p_values=np.array([(r / 1001, 1.0) for r in ranks]).reshape(n, VIEWS),
    )
    times_ns, offset_numbers = (np.array(v, dtype=np.int64) for v in (times, offsets))
    return features, Requests(tuple(ids), times_ns, offset_numbers, tuple(refs), partition)


PARTS = st.builds(
    rows_to_parts, st.lists(ROW, max_size=12), st.integers(0, 2**32), st.integers(0, 3)
)
SKETCHES = PARTS.map(lambda part: Sketch.of(*part, GROUPS)) | st.just(
    Sketch.empty(GROUPS, WIDTH, VIEWS)
)


@given(SKETCHES, SKETCHES)
def test_addition_is_commutative(a: Sketch, b: Sketch) -> None:
    assert a + b == b + a


@given(SKETCHES, SKETCHES, SKETCHES)
def test_addition_is_associative(a: Sketch, b: Sketch, c: Sketch) -> None:
    assert (a + b) + c == a + (b + c)


@given(SKETCHES)
def test_the_empty_sketch_changes_nothing(a: Sketch) -> None:
    assert a + Sketch.empty(GROUPS, WIDTH, VIEWS) == a


@given(st.lists(SKETCHES, min_size=1, max_size=6))
def test_sums_are_exact(parts: list[Sketch]) -> None:
    total = reduce(add, parts)

    assert total.rows == sum(p.rows for p in parts)
    for name in ("group_counts", "sums", "lengths", "histogram"):
        exact = sum(getattr(p, name).astype(object) for p in parts)
        assert (getattr(total, name) == exact).all()
    times = [time for p in parts if p.time_range for time in p.time_range]
    assert total.time_range == ((min(times), max(times)) if times else None)


@given(st.data(), st.lists(ROW, min_size=1, max_size=40), st.integers(0, 2**32))
def test_an_hour_is_the_sum_of_its_blocks_however_they_are_grouped(
    data: st.DataObject, rows: list[tuple], seed: int
) -> None:
    features, requests = rows_to_parts(rows, seed, partition=1)
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=6))
    edges = [0, *sorted(cuts), len(rows)]
    parts = [
        Sketch.of(features.take(slice(a, b)), requests.take(slice(a, b)), GROUPS)
        for a, b in itertools.pairwise(edges)
    ]
    while len(parts) > 1:
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.append(left + right)

    assert parts[0] == Sketch.of(features, requests, GROUPS)


@given(SKETCHES, SKETCHES)
def test_bytes_come_back_as_they_were(a: Sketch, b: Sketch) -> None:
    both = a + b
    again = Sketch.from_bytes(both.to_bytes())

    assert again == both
    assert again.suspects == both.suspects
    assert again.offsets == both.offsets
    assert again.time_range == both.time_range
    assert (again + a) == (both + a)


@given(st.binary(max_size=200))
def test_random_bytes_are_not_a_sketch(data: bytes) -> None:
    for candidate in (data, b"LWS1" + data):
        with pytest.raises(SketchError, match="not a sketch of this version"):
            Sketch.from_bytes(candidate)


@given(SKETCHES, st.data())
def test_one_changed_byte_is_noticed_wherever_it_is(a: Sketch, data: st.DataObject) -> None:
    damaged = bytearray(a.to_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(SketchError, match="not a sketch of this version"):
        Sketch.from_bytes(bytes(damaged))


@given(SKETCHES, st.data())
def test_missing_and_additional_bytes_are_noticed(a: Sketch, data: st.DataObject) -> None:
    whole = a.to_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))

    for damaged in (whole[:place], whole[:place] + b"\0" + whole[place:], whole + b"\0" * 8):
        with pytest.raises(SketchError, match="not a sketch of this version"):
            Sketch.from_bytes(damaged)
