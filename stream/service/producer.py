"""Writes records to the output and internal topics, whatever the limits of a topic are.

A broker refuses a record that is larger than its topic allows, and aiokafka then fails the whole
batch that holds it and leaves a gap in the sequence of an idempotent producer. So what was refused
is sent once more, one record at a time and by a new producer. A dead letter that is refused even so
is cut: a hostile message must not stop the worker at every restart.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    UnknownTopicOrPartitionError,
)

from latentwatch.stream.core.errors import TopicError
from latentwatch.stream.core.events import DeadLetter, Record
from latentwatch.stream.settings import Settings

__all__ = ["OutputProducer", "Placed"]

Placed = tuple[Record, int | None]
"""A record, and its partition; None to choose it by the key."""

_TOO_LARGE = (MessageSizeTooLargeError, RecordTooLargeError)


class OutputProducer:
    """The idempotent producer of a worker, connected when it is first used.

    Parameters
    ----------
    settings : Settings
    check : callable
        Called before anything is sent; raises if nothing may be sent any more.
    """

    def __init__(self, settings: Settings, check: Callable[[], None]) -> None:
        self._settings, self._check = settings, check
        self._topics = settings.topics()
        self._producer: AIOKafkaProducer | None = None
        self._log = structlog.get_logger("latentwatch.worker")

    async def stop(self) -> None:
        """Disconnect, after everything that was sent is acknowledged."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def partition_of(self, record: Record) -> int | None:
        """The partition that a record's route chooses; None if its key does."""
        if record.route is None:
            return None
        producer = await self._connected()
        with _existing(record.topic):
            count = len(await producer.partitions_for(record.topic))
        return zlib.crc32(record.route) % count

    async def send(self, records: Iterable[Placed]) -> None:
        """Send records and wait until the brokers have acknowledged all of them.

        Raises
        ------
        TopicError
            A topic is missing, or allows no record as large as one of these.
        KafkaError
            The brokers refuse a record for another reason.
        """
        for record, partition in await self._refused(list(records)):
            await self._send_alone(record, partition)

    async def _send_alone(self, record: Record, partition: int | None) -> None:
        await self.stop()
        if not await self._refused([(record, partition)]):
            return
        size = len(record.value or b"")
        if record.topic == self._topics.dead_letter:
            self._log.error(
                "dead letter is larger than its topic allows, publishing its beginning",
                key=record.key.decode(errors="replace"),
                bytes=size,
            )
            await self.stop()
            letter = DeadLetter.from_record(record.key, record.value, record.headers)
            if not await self._refused([(letter.to_record(self._topics, cut=True), partition)]):
                return
        raise TopicError(
            f"topic {record.topic!r} does not allow a record of {size:,} bytes: raise its "
            f"max.message.bytes to {self._settings.max_message_bytes + (1 << 20)} (and "
            "message.max.bytes of the brokers), then restart the worker"
        )

    async def _refused(self, records: list[Placed]) -> list[Placed]:
        """Send records; return those that were refused because of a record's size."""
        if not records:
            return []
        producer = await self._connected()
        self._check()
        futures: list[asyncio.Future[object]] = []
        for record, partition in records:
            with _existing(record.topic):
                futures.append(await _sent(producer, record, partition))
        found = await asyncio.gather(*futures, return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, _TOO_LARGE):
                raise error
        outcomes = zip(records, found, strict=True)
        return [record for record, error in outcomes if isinstance(error, BaseException)]

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._settings.kafka_options(),
                acks="all",
                enable_idempotence=True,
                compression_type="zstd",
                linger_ms=5,
                max_request_size=self._settings.max_message_bytes + (1 << 20),
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


async def _sent(
    producer: AIOKafkaProducer, record: Record, partition: int | None
) -> asyncio.Future[object]:
    """Hand a record to the producer, which refuses one that is larger than any request."""
    try:
        future: asyncio.Future[object] = await producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=record.headers,
            partition=partition,
        )
    except _TOO_LARGE as error:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
    return future


@contextmanager
def _existing(topic: str) -> Iterator[None]:
    """Name the topic that is missing, and say what to do."""
    try:
        yield
    except UnknownTopicOrPartitionError as error:
        raise TopicError(
            f"topic {topic!r} does not exist: create it with `latentwatch topics` and restart the "
            "worker; it continues where it stopped"
        ) from error
