"""What a sketch holds of its requests, and what it refuses."""

import struct
import zlib
from typing import Any

import numpy as np
import orjson
import pytest

from latentwatch.detector import Baseline, Features, Requests, Sketch, SketchError
from latentwatch.detector.sketch import TAIL_EDGES
from latentwatch.detector.suspects import SUSPECT_LEVEL, SUSPECT_LIMIT, Suspect

GROUPS, VIEWS, WIDTH = 3, 2, 5


def some_features(rows: int, seed: int = 0, p_values: Any = None) -> Features:
    rng = np.random.default_rng(seed)
    psi = rng.integers(-3000, 3000, (rows, WIDTH)).astype(np.int16)
    exact = psi.astype(np.int64)
    p = rng.integers(1, 1001, (rows, VIEWS)) / 1001 if p_values is None else p_values
    return Features(
        predicted=rng.integers(0, 7, rows),
        groups=rng.integers(0, GROUPS, rows),
        psi=psi,
        lengths=np.stack([(exact[:, :2] ** 2).sum(axis=1), (exact[:, 2:] ** 2).sum(axis=1)], 1),
        squared_distance=rng.random((rows, VIEWS), dtype=np.float32),
        p_values=np.asarray(p, dtype=np.float64),
    )


def some_requests(rows: int, partition: int = 0, first: int = 0) -> Requests:
    index = np.arange(first, first + rows)
    return Requests(
        tuple(f"{partition}-{i}" for i in index),
        1_000 + 10 * index,
        index,
        tuple(None if i % 2 else f"s3://inputs/{i}" for i in index),
        partition,
    )


def test_a_sketch_counts_and_sums_its_rows() -> None:
    features = some_features(50)

    sketch = Sketch.of(features, some_requests(50, partition=4, first=100), GROUPS)

    assert sketch.rows == 50
    assert sketch.shape == (GROUPS, WIDTH, VIEWS)
    assert sketch.group_counts.tolist() == [int((features.groups == g).sum()) for g in range(3)]
    assert sketch.sums.tolist() == features.psi.astype(int).sum(axis=0).tolist()
    assert sketch.lengths.tolist() == features.lengths.sum(axis=0).tolist()
    assert sketch.time_range == (2_000, 2_490)
    assert sketch.offsets == {4: (100, 149)}


def test_sums_of_very_many_rows_do_not_overflow() -> None:
    rows = 70_000
    features = some_features(1).take(np.zeros(rows, dtype=np.int64))
    features.psi[:] = 32767

    assert Sketch.of(features, some_requests(rows), GROUPS).sums.tolist() == [rows * 32767] * WIDTH


def test_p_values_are_counted_up_to_and_with_the_edge_of_their_bin() -> None:
    p_values = np.column_stack([TAIL_EDGES, np.ones(len(TAIL_EDGES))])
    features = some_features(len(TAIL_EDGES), p_values=p_values)

    histogram = Sketch.of(features, some_requests(len(TAIL_EDGES)), GROUPS).histogram

    assert histogram[0].tolist() == [1] * len(TAIL_EDGES)
    assert histogram[1].tolist() == [0] * (len(TAIL_EDGES) - 1) + [len(TAIL_EDGES)]


def test_suspects_are_the_requests_of_small_p_value_in_order() -> None:
    features, requests = some_features(400), some_requests(400, partition=2)

    suspects = Sketch.of(features, requests, GROUPS).suspects

    expected = np.flatnonzero(features.p_values[:, 0] <= SUSPECT_LEVEL)
    order = np.lexsort((-features.squared_distance[expected, 0], features.p_values[expected, 0]))
    assert [s.request_id for s in suspects] == [f"2-{i}" for i in expected[order]]
    for suspect in suspects:
        row = suspect.offset
        assert suspect == Suspect(
            features.p_values[row, 0],
            -float(features.squared_distance[row, 0]),
            requests.request_ids[row],
            int(features.predicted[row]),
            1_000 + 10 * row,
            2,
            row,
            requests.input_refs[row],
        )


def test_the_empty_sketch_is_neutral() -> None:
    sketch = Sketch.of(some_features(20), some_requests(20), GROUPS)
    empty = Sketch.empty(GROUPS, WIDTH, VIEWS)

    assert empty + sketch == sketch
    assert sketch + empty == sketch
    assert (empty + empty).time_range is None
    assert Sketch.of(some_features(0), some_requests(0), GROUPS) == empty


def test_sketches_of_other_rows_differ() -> None:
    sketch = Sketch.of(some_features(20), some_requests(20), GROUPS)

    assert sketch == Sketch.of(some_features(20), some_requests(20), GROUPS)
    assert sketch != Sketch.of(some_features(20, seed=1), some_requests(20), GROUPS)
    assert sketch != Sketch.of(some_features(20), some_requests(20, partition=1), GROUPS)
    assert sketch != "sketch"


def test_adding_leaves_both_parts_as_they_were() -> None:
    left = Sketch.of(some_features(20), some_requests(20), GROUPS)
    right = Sketch.of(some_features(9, seed=1), some_requests(9, partition=1), GROUPS)
    before = left.to_bytes(), right.to_bytes()

    both = left + right

    assert both.rows == 29
    assert both.offsets == {0: (0, 19), 1: (0, 8)}
    assert (left.to_bytes(), right.to_bytes()) == before


@pytest.mark.parametrize("shape", [(GROUPS + 1, WIDTH, VIEWS), (GROUPS, WIDTH - 1, VIEWS),
                                   (GROUPS, WIDTH, VIEWS + 1), (0, 0, 0)])  # fmt: skip
def test_sketches_of_different_baselines_do_not_add(shape: tuple[int, int, int]) -> None:
    sketch = Sketch.of(some_features(20), some_requests(20), GROUPS)

    with pytest.raises(SketchError, match="keep the sketches of each baseline apart"):
        sketch + Sketch.empty(*shape)


def test_rows_without_a_baseline_are_counted() -> None:
    counted = Sketch.counting(some_requests(5, partition=1)) + Sketch.counting(
        some_requests(4, partition=1, first=5)
    )

    assert counted.rows == 9
    assert counted.shape == (0, 0, 0)
    assert counted.offsets == {1: (0, 8)}
    assert counted.time_range == (1_000, 1_080)
    assert counted.suspects == ()
    assert Sketch.from_bytes(counted.to_bytes()) == counted


def suspicious(rows: int, seed: int) -> tuple[Features, Requests]:
    """Rows that are all suspects, with many ties among their p-values."""
    rng = np.random.default_rng(seed)
    p_values = rng.integers(1, 50, (rows, VIEWS)) / 1001
    return some_features(rows, seed, p_values), some_requests(rows, partition=seed)


def test_beyond_the_limit_the_most_suspicious_remain_and_the_counts_stay_exact() -> None:
    parts = [suspicious(rows, seed) for rows, seed in ((700, 0), (1500, 1), (600, 2))]
    everyone = sorted(
        (
            (float(p), -float(e), name)
            for features, requests in parts
            for p, e, name in zip(
                features.p_values[:, 0],
                features.squared_distance[:, 0],
                requests.request_ids,
                strict=True,
            )
        )
    )

    a, b, c = (Sketch.of(features, requests, GROUPS) for features, requests in parts)

    for total in ((a + b) + c, a + (b + c), (c + a) + b):
        assert [s[:3] for s in total.suspects] == everyone[:SUSPECT_LIMIT]
        assert total.histogram[0].sum() == total.rows == 2800


def test_bytes_are_canonical_whatever_the_order_of_addition() -> None:
    parts = [
        Sketch.of(some_features(30, seed), some_requests(30, partition=seed), GROUPS)
        for seed in range(4)
    ]

    assert sum(parts[1:], parts[0]).to_bytes() == sum(parts[-2::-1], parts[-1]).to_bytes()


def signed(header: object, numbers: bytes = b"") -> bytes:
    """Bytes with a right checksum and a header of any content."""
    encoded = orjson.dumps(header)
    body = struct.pack("<I", len(encoded)) + encoded + numbers
    return b"LWS1" + struct.pack("<I", zlib.crc32(body)) + body


SOUND = {"rows": 1, "shape": [0, 0, 0], "time_range": [1, 2], "offsets": [[0, 1, 2]],
         "suspects": []}  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        None,
        5,
        [],
        {},
        "text",
        {**SOUND, "shape": [0, 0]},
        {**SOUND, "shape": ["a", "b", "c"]},
        {**SOUND, "shape": [1, 0, 0]},
        {**SOUND, "shape": [1e300, -1e300, 0]},
        {**SOUND, "time_range": [1]},
        {**SOUND, "offsets": [[1]]},
        {**SOUND, "offsets": [[[], 1, 2]]},
        {**SOUND, "offsets": 3},
        {**SOUND, "suspects": [[0.01]]},
        {**SOUND, "suspects": 7},
    ],
)
def test_a_header_that_makes_no_sense_is_refused_by_name(header: object) -> None:
    with pytest.raises(SketchError, match="not a sketch of this version"):
        Sketch.from_bytes(signed(header))


def test_the_sound_header_of_the_test_before_is_read() -> None:
    assert Sketch.from_bytes(signed(SOUND)).offsets == {0: (1, 2)}


def test_requests_of_several_batches_are_joined_and_taken_in_order() -> None:
    joined = Requests.join([some_requests(3), some_requests(4, first=3)])

    assert joined.request_ids == some_requests(7).request_ids
    assert joined.offsets.tolist() == list(range(7))
    taken = joined.take(slice(2, 5))
    assert taken.request_ids == ("0-2", "0-3", "0-4")
    assert taken.event_time_ns.tolist() == [1_020, 1_030, 1_040]
    assert taken.input_refs == ("s3://inputs/2", None, "s3://inputs/4")


def test_blocks_that_are_summarised_together_are_those_summarised_alone(
    baseline: Baseline, traffic: Any
) -> None:
    rng = np.random.default_rng(9)
    rows, predicted = baseline.rows(*traffic.attacked(160, rng))
    features = baseline.features(rows, predicted).repeating(rng.random(160) < 0.3)
    requests = Requests(
        tuple(f"r{n}" for n in range(160)),
        rng.integers(0, 10**12, 160),
        rng.integers(0, 1000, 160),
        tuple(None if n % 3 else f"s3://{n}" for n in range(160)),
        partition=4,
    )

    together = Sketch.of_blocks(features, requests, baseline.groups, 32)

    parts = [slice(start, start + 32) for start in range(0, 160, 32)]
    alone = [Sketch.of(features.take(p), requests.take(p), baseline.groups) for p in parts]
    assert together == alone
    assert sum(alone[1:], alone[0]) == Sketch.of(features, requests, baseline.groups)
    assert all(sketch.suspects for sketch in alone)
