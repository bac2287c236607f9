"""Batches of records from hostile producers, read within bounds.

The broker checks little of what it stores. A header name may be any bytes: aiokafka decodes it,
raises, and never gets past the record. A batch of 100 KB may expand to a gigabyte, and aiokafka
expands all of it. Either one crashes every worker that is assigned the partition, again and again.

A consumer that starts under `reading_within` reads batches through this module instead. Header
names that are not UTF-8 are escaped, and what is too large is cut. A batch that expands beyond the
bound, or that cannot be read, becomes one record without a value. The decoder refuses all of these
like any other invalid message, so they end up as dead letters. `.reader` starts every consumer so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Self

import cramjam
import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

from latentwatch.stream.kafka.topics import DEAD_LETTER_HEADROOM
from latentwatch.stream.settings import Settings

__all__ = ["NOTE", "BoundedRecords", "Bounds", "reading_within"]

NOTE = "latentwatch-note"
"""Header of a record that was changed on reading; it says how."""

MOST_HEADERS = 256
"""Headers of a record; a million empty ones would take a hundred times their bytes."""

LETTER_HEADERS = 16
"""Headers that a dead letter may have in addition to those of the message that was refused."""

EXPANSION = 4
"""What a batch may expand to, in messages of the largest size."""

FAST_BYTES = 1 << 20
"""Batches up to this size are tried with aiokafka's own reader first: it has no bounds."""

_LENGTH_AT, _MAGIC_AT, _RECORDS_AT = 8, 16, 61
_FRAME = struct.Struct(">qiibIhiqqqhii")
_SNAPPY_FRAMED = b"\x82SNAPPY\x00"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a record may be.

    Parameters
    ----------
    value_bytes : int
        Longer values are cut one byte behind it, for the decoder to refuse.
    most_headers : int
        Records with more headers lose their key and all of their headers.
    extra_bytes : int
        What key and headers may have in addition to `value_bytes`.
    """

    value_bytes: int
    most_headers: int = MOST_HEADERS
    extra_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Bounds of a message that a worker accepts."""
        return cls(settings.max_message_bytes)

    @classmethod
    def of_dead_letters(cls, settings: Settings) -> Self:
        """Bounds of such a message with the headers that say why it was refused."""
        # a value that was cut is one byte longer than a message may be
        return cls(
            settings.max_message_bytes + 1, MOST_HEADERS + LETTER_HEADERS, DEAD_LETTER_HEADROOM
        )

    @property
    def batch_bytes(self) -> int:
        """What a batch may expand to."""
        return EXPANSION * self.value_bytes


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
    bounds : Bounds
    """

    def __init__(self, data: bytes, bounds: Bounds) -> None:
        self._records = MemoryRecords(data)
        self._data, self._at, self._bounds = memoryview(data), 0, bounds

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
        return batch if raw[_MAGIC_AT] < 2 else _Batch(batch, raw, self._bounds)


class _Batch:
    """aiokafka's batch, with records that are read here."""

    def __init__(self, batch: Any, raw: memoryview, bounds: Bounds) -> None:
        self._batch, self._raw, self._bounds = batch, raw, bounds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        # the marker that ends a transaction: only brokers write those
        return next(self._batch)

    def __iter__(self) -> Iterator[_Record]:
        frame = _FRAME.unpack_from(self._raw)
        base, attributes, count = frame[0], frame[5], frame[12]
        reached = base
        try:
            body = _expanded(self._raw[_RECORDS_AT:], attributes & 7, self._bounds.batch_bytes)
            for record in self._records(body, frame, count):
                reached = record.offset + 1
                yield self._bounded(record)
        except (ValueError, LookupError, struct.error, cramjam.DecompressionError) as error:
            note = f"records {reached} to {base + frame[6]} cannot be read: {error}"
            yield _Record(reached, frame[8], attributes >> 3 & 1, None, None, [_note(note)])

    def _records(self, body: bytes, frame: tuple[int, ...], count: int) -> Iterator[Any]:
        """Records as aiokafka reads them, which is fast; from where it fails, as we do."""
        done = 0
        if len(body) <= FAST_BYTES:
            plain = _FRAME.pack(*frame[:5], frame[5] & ~7, *frame[6:])
            plain = plain[:_LENGTH_AT] + struct.pack(">i", len(plain) + len(body) - 12) + plain[12:]
            with suppress(KafkaError, ValueError, LookupError):
                for record in MemoryRecords(plain + body).next_batch():
                    yield record
                    done += 1
                return
        yield from islice(_read(body, frame, self._bounds.most_headers), done, count)

    def _bounded(self, record: Any) -> Any:
        """The record, cut where it is too large."""
        key, value, headers = record.key, record.value, record.headers
        most, most_headers = self._bounds.value_bytes, self._bounds.most_headers
        size = len(key or b"") + sum(len(n) + len(v or b"") for n, v in headers)
        if len(headers) > most_headers or size > most + self._bounds.extra_bytes:
            key, headers = None, [_note(f"a key and {len(headers)} headers were dropped: {size} B")]
        if len(value or b"") > most:
            headers = [*headers, _note(f"the value of {len(value)} bytes was cut")]
            value = value[: most + 1]
        if headers is record.headers:
            return record
        return _Record(record.offset, record.timestamp, record.timestamp_type, key, value, headers)


def _note(text: str) -> tuple[str, bytes]:
    return NOTE, text.encode("utf-8", "replace")[:500]


def _read(body: bytes, frame: tuple[int, ...], most_headers: int) -> Iterator[_Record]:
    """The records of a batch's body, one after another; `ValueError` where it holds no more."""
    base, attributes, first_time, newest_time = frame[0], frame[5], frame[7], frame[8]
    kind, at = attributes >> 3 & 1, 0
    while True:
        length, start = decode_varint(body, at)
        _, at = decode_varint(body, start)
        later, at = decode_varint(body, at)
        place, at = decode_varint(body, at)
        key, at = _nullable(body, at)
        value, at = _nullable(body, at)
        headers = list(_headers(body, at, start + length, most_headers))
        at = start + length
        yield _Record(
            base + place, newest_time if kind else first_time + later, kind, key, value, headers
        )


def _headers(body: bytes, at: int, end: int, most: int) -> Iterator[tuple[str, bytes | None]]:
    count, at = decode_varint(body, at)
    if count > most:
        # one more than allowed is enough for the record to count as too large
        yield from [("", None)] * (most + 1)
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


_bounds: ContextVar[Bounds | None] = ContextVar("latentwatch_bounds", default=None)


def _records(data: bytes) -> Any:
    bounds = _bounds.get()
    return MemoryRecords(data) if bounds is None else BoundedRecords(data, bounds)


@contextmanager
def reading_within(bounds: Bounds) -> Iterator[None]:
    """Make consumers that are started meanwhile read batches within bounds, for all their life.

    aiokafka looks up the class that reads a response by its name in the module of its fetcher, and
    has no other place to pass one. The tasks that fetch are created while the consumer starts, and
    inherit its context: so each consumer keeps bounds of its own, and others are left alone.
    """
    fetcher.MemoryRecords = _records
    token = _bounds.set(bounds)
    try:
        yield
    finally:
        _bounds.reset(token)
