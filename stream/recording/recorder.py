"""Record the activations topic into files: every message once, however the recorder ends.

There is no consumer group: the files themselves say where to resume (see `.layout`), so the data
and the position cannot disagree.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import TopicPartition

from latentwatch.producers.wire import Limits, WireError, decode, read_end
from latentwatch.stream.core.errors import RecordingError, TopicError
from latentwatch.stream.kafka.reader import Consumer, has_reached, open_consumer, spans_of
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.recording.rows import RecordedMessage
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.settings import Settings

__all__ = ["Recorder"]

POLL_MS = 200
UNFETCHED_BYTES = 16 << 20
"""Bytes a partition that are fetched ahead at most."""


class Recorder:
    """Records the partitions of the activations topic.

    Parameters
    ----------
    settings : Settings
    writer : RecordingWriter
    positions : dict of int to int
        Next offset by partition, as `RecordingFiles.recover` says; others begin with the oldest.
    partitions : set of int, optional
        All by default; recorders of one folder must share none.
    """

    def __init__(
        self,
        settings: Settings,
        writer: RecordingWriter,
        positions: dict[int, int],
        partitions: Iterable[int] | None = None,
    ) -> None:
        self._settings, self._writer = settings, writer
        self._positions = positions
        self._wanted = None if partitions is None else set(partitions)
        self._limits = Limits(value_bytes=settings.max_message_bytes)
        self._topic = settings.topics().activations
        self._log = structlog.get_logger("latentwatch.record")
        self.messages = 0
        self.skipped: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event, *, until_end: bool = False) -> None:
        """Record until `stop` is set, or until all that is there now is recorded.

        Raises
        ------
        TopicError, RecordingError
            No such topic or partition; the topic is another one than the files are of.
        """
        async with open_consumer(
            self._settings,
            max_partition_fetch_bytes=max(UNFETCHED_BYTES, self._settings.max_message_bytes),
        ) as consumer:
            try:
                ends = await self._begin(consumer)
                while not stop.is_set():
                    if until_end and await has_reached(consumer, ends):
                        break
                    await self._poll(consumer)
            finally:
                # what is pending was read: an error of the broker is no reason to read it again
                self._writer.flush_all()

    async def _poll(self, consumer: Consumer) -> None:
        for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                self._take(record)
        self._writer.flush_old(time.monotonic())

    def _take(self, record: Any) -> None:
        try:
            if read_end(record.headers, limits=self._limits) is not None:
                self._writer.pass_over(record.partition, record.offset)
                return
            batch = decode(record.value or b"", record.headers, key=record.key, limits=self._limits)
        except WireError as error:
            # the worker sends it to the dead-letter topic, whole
            self._skip(record, str(error.reason))
            return
        newest = time.time_ns() + int(self._settings.max_future_seconds * 1e9)
        if int(batch.event_time_ns.max()) > newest:
            self._skip(record, "bad-time")
            return
        message = RecordedMessage(record.partition, record.offset, batch)
        self._writer.add(message, time.monotonic())
        self.messages += 1

    def _skip(self, record: Any, reason: str) -> None:
        self.skipped[reason] += 1
        self._writer.pass_over(record.partition, record.offset)

    async def _begin(self, consumer: Consumer) -> dict[TopicPartition, int]:
        """Go to where the files end; return where the topic ends at present."""
        there = set(range(await partition_count(self._settings, self._topic)))
        if self._wanted is not None and self._wanted - there:
            missing = ", ".join(map(str, sorted(self._wanted - there)))
            raise TopicError(
                f"topic {self._topic!r} has no partition {missing}: it has {len(there)}, from 0 on"
            )
        places = [TopicPartition(self._topic, p) for p in sorted(self._wanted or there)]
        consumer.assign(places)
        spans = await spans_of(consumer, places)
        for place, (beginning, end) in spans.items():
            position = self._position(place.partition, beginning, end)
            consumer.seek(place, position)
            self._log.info("recording", partition=place.partition, offset=position)
        return {place: end for place, (_, end) in spans.items()}

    def _position(self, partition: int, beginning: int, end: int) -> int:
        position = self._positions.get(partition, beginning)
        if position > end:
            raise RecordingError(
                f"partition {partition} of {self._topic!r} ends at offset {end}, and it is "
                f"recorded up to {position}: the topic was recreated; use another folder"
            )
        if position < beginning:
            self._log.warning(
                "messages were deleted before they were recorded: keep the topic longer, or "
                "record without breaks",
                partition=partition,
                first=position,
                next=beginning,
            )
        return max(position, beginning)
