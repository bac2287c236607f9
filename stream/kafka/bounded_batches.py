"""Batches of records as hostile producers may write them, read within bounds.

The broker checks little of what it stores. A header name may be any bytes, and aiokafka, which
decodes it, raises and never gets past the record. A batch of 100 KB may expand to a gigabyte, and
aiokafka expands it whole. Either ends every worker that is given the partition, again and again.

`read_within_bounds` makes this process's consumers read batches through this module instead: names
that are no UTF-8 are escaped, what is too large is cut, and a batch that expands beyond the bound,
or cannot be read, becomes one record without a value. The decoder refuses these like any other
message, so that they end as dead letters.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import cramjam
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

__all__ = ["NOTE", "BoundedRecords", "read_within_bounds"]

NOTE = "latentwatch-note"
"""Header of a record that is not as the producer wrote it; it says what was done to it."""

MOST_HEADERS = 256
"""Headers of a record; a million empty ones would take a hundred times their bytes."""

EXPANSION = 4
"""What a batch may expand to, in messages of the largest size."""

FAST_BYTES = 1 << 20
"""Batches that aiokafka's own reader is asked for first: it bounds nothing."""

_LENGTH_AT, _MAGIC_AT, _RECORDS_AT = 8, 16, 61
_FRAME = struct.Struct(">qiibIhiqqqhii")
_SNAPPY_FRAMED = b"\x82SNAPPY\x00"


class _Record(NamedTuple):
    """A record as aiokafka's fetcher wants it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class BoundedRecords:
    """The batches of one response, in place of aiokafka's ``MemoryRecords``.

    Parameters
    ----------
    data : bytes
        Whole batches as the broker stores them; the last may be cut short.
    most_bytes : int
        Largest message; longer values are cut one byte behind it, for the decoder to refuse.
    """

    def __init__(self, data: bytes, most_bytes: int) -> None:
        self._records = MemoryRecords(data)
        self._data, self._at, self._most = memoryview(data), 0, most_bytes

    def size_in_bytes(self) -> int:
        """Bytes of the response."""
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        """Whether another whole batch is there."""
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        """The next batch; of formats before Kafka 0.11 as aiokafka reads it."""
        batch = self._records.next_batch()
        (length,) = struct.unpack_from(">i", self._data, self._at + _LENGTH_AT)
        raw = self._data[self._at : self._at + _LENGTH_AT + 4 + length]
        self._at += len(raw)
        return batch if raw[_MAGIC_AT] < 2 else _Batch(batch, raw, self._most)


class _Batch:
    """aiokafka's batch, with records that are read here."""

    def __init__(self, batch: Any, raw: memoryview, most_bytes: int) -> None:
        self._batch, self._raw, self._most = batch, raw, most_bytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        # of a marker that ends a transaction; brokers alone write those
        return next(self._batch)

    def __iter__(self) -> Iterator[_Record]:
        frame = _FRAME.unpack_from(self._raw)
        base, attributes, count = frame[0], frame[5], frame[12]
        reached = base
        try:
            body = _expanded(self._raw[_RECORDS_AT:], attributes & 7, EXPANSION * self._most)
            for record in self._records(body, frame, count):
                reached = record.offset + 1
                yield self._bounded(record)
        except (ValueError, LookupError, struct.error, cramjam.DecompressionError) as error:
            note = f"records {reached} to {base + frame[6]} cannot be read: {error}"
            yield _Record(reached, frame[8], attributes >> 3 & 1, None, None, [_note(note)])

    def _records(self, body: bytes, frame: tuple[int, ...], count: int) -> Iterator[Any]:
        """Records as aiokafka reads them, which is fast, or as we do, from where it cannot."""
        done = 0
        if len(body) <= FAST_BYTES:
            plain = _FRAME.pack(*frame[:5], frame[5] & ~7, *frame[6:])
            plain = plain[:_LENGTH_AT] + struct.pack(">i", len(plain) + len(body) - 12) + plain[12:]
            with suppress(KafkaError, ValueError, LookupError):
                for record in MemoryRecords(plain + body).next_batch():
                    yield record
                    done += 1
                return
        yield from islice(_read(body, frame), done, count)

    def _bounded(self, record: Any) -> Any:
        """The record, cut where it is too large."""
        key, value, headers = record.key, record.value, record.headers
        size = len(key or b"") + sum(len(n) + len(v or b"") for n, v in headers)
        if len(headers) > MOST_HEADERS or size > self._most:
            key, headers = None, [_note(f"a key and {len(headers)} headers were dropped: {size} B")]
        if len(value or b"") > self._most:
            headers = [*headers, _note(f"the value of {len(value)} bytes was cut")]
            value = value[: self._most + 1]
        if headers is record.headers:
            return record
        return _Record(record.offset, record.timestamp, record.timestamp_type, key, value, headers)


def _note(text: str) -> tuple[str, bytes]:
    return NOTE, text.encode("utf-8", "replace")[:500]


def _read(body: bytes, frame: tuple[int, ...]) -> Iterator[_Record]:
    """The records of a batch's body, one after another; `ValueError` where there is none."""
    base, attributes, first_time, newest_time = frame[0], frame[5], frame[7], frame[8]
    kind, at = attributes >> 3 & 1, 0
    while True:
        length, start = decode_varint(body, at)
        _, at = decode_varint(body, start)
        later, at = decode_varint(body, at)
        place, at = decode_varint(body, at)
        key, at = _nullable(body, at)
        value, at = _nullable(body, at)
        headers = list(_headers(body, at, start + length))
        at = start + length
        yield _Record(
            base + place, newest_time if kind else first_time + later, kind, key, value, headers
        )


def _headers(body: bytes, at: int, end: int) -> Iterator[tuple[str, bytes | None]]:
    count, at = decode_varint(body, at)
    if count > MOST_HEADERS:
        # `MOST_HEADERS` and one: enough for the record to count as too large
        yield from [("", None)] * (MOST_HEADERS + 1)
        return
    for _ in range(count):
        name, at = _nullable(body, at)
        value, at = _nullable(body, at)
        yield (name or b"").decode("utf-8", "backslashreplace"), value
    if at != end:
        raise ValueError("the lengths of a record do not add up")


def _nullable(body: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = decode_varint(body, at)
    if length < 0:
        return None, at
    if at + length > len(body):
        raise ValueError("a field is longer than its batch")
    return body[at : at + length], at + length


def _expanded(data: memoryview, codec: int, most: int) -> bytes:
    """What a batch's compressed bytes expand to, up to a bound."""
    match codec:
        case 0:
            return bytes(data)
        case 1:
            return _into(cramjam.gzip.decompress_into, data, most)
        case 2:
            return _snappy(data, most)
        case 3:
            return _into(cramjam.lz4.decompress_into, data, most)
        case 4:
            return _into(cramjam.zstd.decompress_into, data, most)
    raise ValueError(f"unknown compression {codec}")


def _into(expand: Callable[..., int], data: memoryview, most: int) -> bytes:
    # pages that are not written to cost nothing
    room = np.empty(most, dtype=np.uint8)
    try:
        return room[: expand(bytes(data), room)].tobytes()
    except cramjam.DecompressionError as error:
        raise ValueError(f"the batch expands beyond {most} bytes, or is damaged") from error


def _snappy(data: memoryview, most: int) -> bytes:
    """Blocks that say how large they are; Java's clients put several into a frame."""
    blocks = [data]
    if bytes(data[: len(_SNAPPY_FRAMED)]) == _SNAPPY_FRAMED:
        blocks, at = [], 16
        while at < len(data):
            (size,) = struct.unpack_from(">i", data, at)
            if size <= 0:
                raise ValueError("a block of snappy without content")
            blocks.append(data[at + 4 : at + 4 + size])
            at += 4 + size
    claimed = sum(int(cramjam.snappy.decompress_raw_len(bytes(block))) for block in blocks)
    if claimed > most:
        raise ValueError(f"the batch expands to {claimed} bytes, beyond {most}")
    return b"".join(bytes(cramjam.snappy.decompress_raw(bytes(block))) for block in blocks)


def read_within_bounds(most_bytes: int) -> None:
    """Let every consumer of this process read so, for messages of at most so many bytes.

    aiokafka has no other place for it: the class is looked up by its name for each response.
    """
    fetcher.MemoryRecords = lambda data: BoundedRecords(data, most_bytes)
