"""Send a recording to Kafka again, with its ids, keys and event times, at a chosen speed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from latentwatch.producers.wire import ActivationBatch, EndOfStream, Limits, encode, encode_end
from latentwatch.stream.core.times import timestamp
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.settings import Settings

__all__ = ["Pace", "Replay"]

MOST_UNDER_WAY = 256
"""Most messages sent but not yet acknowledged; this bounds the memory."""

LAG_EVERY = 64
"""Messages between two checks of the worker's lag."""


@dataclass(slots=True)
class Pace:
    """When a message is due: distances of event times are kept, divided by a speed.

    Parameters
    ----------
    speed : float or None
        1 is the original pace, 60 one hour per minute, None as fast as possible.
    """

    speed: float | None
    _start_ns: int | None = None
    _started: float = 0.0

    def wait(self, event_time_ns: int, now: float) -> float:
        """Seconds from `now` until a message is due; 0 if it is late."""
        if self.speed is None:
            return 0.0
        if self._start_ns is None:
            self._start_ns, self._started = event_time_ns, now
        due = self._started + (event_time_ns - self._start_ns) / 1e9 / self.speed
        return max(0.0, due - now)


class Replay:
    """Sends recorded messages to the activations topic.

    Parameters
    ----------
    settings : Settings
    pace : Pace
    most_lag : int
        Most messages that the worker may lag behind; 0 for no limit.
    end_marker : bool
        Whether to end the stream with a message that closes the open hours at once.
    """

    def __init__(
        self, settings: Settings, pace: Pace, *, most_lag: int = 0, end_marker: bool = True
    ) -> None:
        self._settings, self._pace = settings, pace
        self._most_lag, self._end_marker = most_lag, end_marker
        self._topic = settings.topics().activations
        self._limits = Limits(value_bytes=settings.max_message_bytes)
        self._lanes: set[tuple[str, str, int]] = set()
        self._under_way: set[asyncio.Future[Any]] = set()
        self._next: dict[int, int] = {}
        self.messages = 0
        self.rows = 0

    async def run(
        self,
        messages: Iterable[tuple[int, int, ActivationBatch]],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Send (partition, offset, batch); partitions are kept if the topic has as many.

        Raises
        ------
        TopicError
            The topic does not exist.
        BrokerError
            The worker lags too far behind and makes no progress.
        """
        options = self._settings.kafka_options()
        producer = AIOKafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=5,
            max_batch_size=1 << 20,
            max_request_size=self._settings.max_message_bytes + (1 << 20),
        )
        async with producer, WorkerLag(self._settings) as lag:
            partitions = await partition_count(self._settings, self._topic)
            for partition, _, batch in messages:
                await self._wait(batch)
                await self._send(producer, partition if partition < partitions else None, batch)
                if self._most_lag and self.messages % LAG_EVERY == 0:
                    await self._settle(MOST_UNDER_WAY // 2)
                    await lag.wait_below(self._most_lag, self._next)
                if progress is not None:
                    progress(len(batch))
            await self._settle(0)
            if self._end_marker:
                await self._mark(producer)

    async def _wait(self, batch: ActivationBatch) -> None:
        seconds = self._pace.wait(int(batch.event_time_ns[0]), time.monotonic())
        if seconds:
            await asyncio.sleep(seconds)

    async def _send(
        self, producer: AIOKafkaProducer, partition: int | None, batch: ActivationBatch
    ) -> None:
        message = encode(batch, limits=self._limits)
        future = await producer.send(
            self._topic, message.value, message.key, partition, headers=message.headers
        )
        self._under_way.add(future)
        future.add_done_callback(lambda done: self._acknowledged(done, batch))
        self.messages += 1
        self.rows += len(batch)
        await self._settle(MOST_UNDER_WAY)

    def _acknowledged(self, future: asyncio.Future[Any], batch: ActivationBatch) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # it stays under way, and raises where it is awaited
        self._under_way.discard(future)
        place = future.result()
        self._lanes.add((batch.model, batch.version, place.partition))
        self._next[place.partition] = max(place.offset + 1, self._next.get(place.partition, 0))

    async def _settle(self, most: int) -> None:
        """Wait until at most `most` messages are unacknowledged."""
        while len(self._under_way) > most:
            done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
                self._under_way.discard(future)

    async def _mark(self, producer: AIOKafkaProducer) -> None:
        now = timestamp(time.time_ns())
        for model, version, partition in sorted(self._lanes):
            end = encode_end(
                EndOfStream(model, version),
                source="/latentwatch/replay",
                event_id=str(uuid.uuid4()),
                time=now,
            )
            await producer.send_and_wait(
                self._topic, end.value, end.key, partition, headers=end.headers
            )
