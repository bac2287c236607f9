"""Batches as a broker stores them: read as aiokafka does, and within bounds where it has none."""

import tracemalloc
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from latentwatch.stream.kafka.bounded_batches import (
    EXPANSION,
    FAST_BYTES,
    MOST_HEADERS,
    NOTE,
    BoundedRecords,
    Bounds,
)

MOST = 1 << 20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

Headers = list[tuple[str, bytes | None]]


def batch(records: list[tuple[bytes | None, bytes | None, Headers]], codec: str = "zstd") -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, timestamp=1000 + offset, key=key, value=value, headers=headers)
    return bytes(builder.build())


def read(records: Any) -> list[Any]:
    found = []
    while records.has_next():
        for r in records.next_batch():
            found.append((r.offset, r.timestamp, r.timestamp_type, r.key, r.value, [*r.headers]))
    return found


def bounded(data: bytes, most: int = MOST) -> list[Any]:
    return read(BoundedRecords(data, Bounds(most)))


def notes(record: Any) -> list[str]:
    return [value.decode() for name, value in record[5] if name == NOTE]


ORDINARY: list[tuple[bytes | None, bytes | None, Headers]] = [
    (b"k" if n % 3 else None, bytes(n) if n % 5 else None, [("ä", b"x"), ("b", None)][: n % 3])
    for n in range(300)
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("padding", [0, FAST_BYTES])
def test_ordinary_batches_are_read_as_aiokafka_reads_them(codec: str, padding: int) -> None:
    records = [*ORDINARY, (b"last", bytes(padding), [])]
    data = batch(records, codec) + batch(ORDINARY[:7], codec)
    assert bounded(data) == read(MemoryRecords(data))
    assert BoundedRecords(data, Bounds(MOST)).size_in_bytes() == len(data)


def test_a_batch_that_is_cut_short_is_left_for_the_next_response() -> None:
    whole = batch(ORDINARY[:3])
    assert bounded(whole + whole[:-1]) == bounded(whole)
    assert not BoundedRecords(whole[:30], Bounds(MOST)).has_next()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_header_name_that_is_no_utf_8_is_escaped_and_its_neighbours_are_as_they_came(
    place: int,
) -> None:
    records: list[tuple[bytes | None, bytes | None, Headers]] = [
        (b"k", b"v", [("xyz" if n == place else "abc", b"1")]) for n in range(3)
    ]
    data = batch(records, "none")
    found = bounded(data.replace(b"xyz", b"\xff\xfez"))
    expected = read(MemoryRecords(data))
    expected[place] = (*expected[place][:5], [("\\xff\\xfez", b"1")])
    assert found == expected


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_expands_beyond_the_bound_is_one_record_and_takes_no_memory(
    codec: str,
) -> None:
    bomb = batch([(None, bytes(16 << 20), []), (None, b"behind it", [])], codec)
    small = batch(ORDINARY[:2])
    tracemalloc.start()
    found = bounded(bomb + small)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record[0] for record in found] == [0, 0, 1]
    assert found[0][3:5] == (None, None)
    assert "records 0 to 1 cannot be read" in notes(found[0])[0]
    # the room that is asked for counts here, though none of it is used
    assert peak < 2 * EXPANSION * MOST + len(bomb)


def test_a_value_that_is_too_large_is_cut_where_the_decoder_still_refuses_it() -> None:
    (record,) = bounded(batch([(b"k", bytes(2 * MOST), [("a", b"1")])]))
    assert len(record[4]) == MOST + 1
    assert record[5][0] == ("a", b"1")
    assert notes(record) == [f"the value of {2 * MOST} bytes was cut"]


@pytest.mark.parametrize("count", [MOST_HEADERS + 1, 200_000])
def test_headers_beyond_any_use_are_dropped(count: int) -> None:
    ((_, _, _, key, value, headers), other) = bounded(
        batch([(b"k", b"v", [("", b"")] * count), (b"k", b"v", [])])
    )
    assert (key, value) == (None, b"v")
    assert [name for name, _ in headers] == [NOTE]
    assert other[3:] == (b"k", b"v", [])


def test_large_headers_are_dropped() -> None:
    (record,) = bounded(batch([(b"k", b"v", [("a", bytes(MOST + 1))])]))
    assert record[3:5] == (None, b"v")
    assert [name for name, _ in record[5]] == [NOTE]


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_batch_is_told_once_and_the_next_one_is_read(codec: str) -> None:
    damaged = bytearray(batch(ORDINARY, codec))
    damaged[70:200] = b"\xff" * 130
    found = bounded(bytes(damaged) + batch(ORDINARY[:2]))
    *_, told, first, second = found
    assert [bool(notes(record)) for record in found].count(True) == 1
    assert "cannot be read" in notes(told)[0]
    assert (first[0], second[0]) == (0, 1)
