"""What the worker does with Kafka, apart from Faust: flush in the right order, never lose a row.

The commit protocol of a batch, each step awaited before the next:

1. Publish dead letters and alerts. They follow from the messages alone: after a crash they come
   again with the same key and the same bytes.
2. Store the states of the lanes, with the parts of hours that they emit. What a wall clock closed
   would not be closed the same way again, so the state must carry it.
3. Publish the parts of hours. The lane's next state no longer carries them: it is stored by the
   next flush, or once the lane has been silent for `idle_seconds`. A worker that takes the lane
   over before that publishes them again with the same part numbers, and the rates ignore part
   numbers that are known. (Parts too large for a state follow from the messages alone, as in
   step 1, and are published before it.)
4. Acknowledge the input offsets (`stream.service.app`). Messages that come again are skipped: the
   state has the last offset that it took in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import structlog

from latentwatch.producers.wire import Limits
from latentwatch.stream.core.errors import StateError, StreamError, SuspendedError
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import LaneKey
from latentwatch.stream.core.processor import Incoming, Processor
from latentwatch.stream.core.rates import HourReport, RateAggregator
from latentwatch.stream.kafka.reader import read_topic
from latentwatch.stream.service.baselines import BaselineStore, featuriser_of
from latentwatch.stream.service.lane_state import read_lane_states, state_key
from latentwatch.stream.service.metrics import make_observer
from latentwatch.stream.service.metrics.health import Health
from latentwatch.stream.service.producer import OutputProducer
from latentwatch.stream.service.traces import make_traces
from latentwatch.stream.settings import Settings

__all__ = ["Engine", "Progress"]

T = TypeVar("T")

SESSION_SECONDS = 10.0
"""After so long without a heartbeat another worker takes over."""

SUSPENDED_SECONDS = 0.7 * SESSION_SECONDS
"""A process that was suspended for so long may have lost its partitions: the last heartbeat may
have been sent a quarter of a session earlier."""

# where available, a clock that also runs while the machine sleeps
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


async def _always() -> bool:
    return True


@dataclass(slots=True)
class Progress:
    """Counters of one worker since it started; logged when it stops."""

    messages: int = 0
    published: int = 0
    dead_letters: int = 0
    alerts: int = 0
    flushes: int = 0


class Engine:
    """Processor and rate aggregator, with the producer and the topics that keep their state.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = settings.topics()
        self.progress = Progress()
        self.health = Health(settings.stuck_seconds, time.monotonic())
        self.observer = make_observer(settings, self.health)
        self._traces = make_traces(settings)
        self._log = structlog.get_logger("latentwatch.worker")
        baselines = BaselineStore.of(settings, time.monotonic)
        self._processor = Processor(
            self.topics,
            baselines.find,
            settings.policy(),
            limits=Limits(value_bytes=settings.max_message_bytes),
            newest_ns=lambda: time.time_ns() + int(settings.max_future_seconds * 1e9),
            is_known=baselines.is_known,
            featuriser=featuriser_of(settings.feature_device),
            observer=self.observer,
        )
        self._rates = RateAggregator(
            baselines.find, settings.false_discovery_rate, settings.hour_sketch_retention_hours
        )
        self._rates_loaded: set[int] = set()
        self._heard: dict[LaneKey, float] = {}
        # one thread: the mathematics must not starve the heartbeats, and needs no locks
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="detector")
        self._lock = asyncio.Lock()
        self._producer = OutputProducer(settings, self._check_pulse)
        self._pulse: float | None = None
        self._error: Exception | None = None

    async def stop(self) -> None:
        """Finish what is under way and disconnect."""
        async with self._lock:
            await self._producer.stop()
        await asyncio.to_thread(self._traces.close)
        self._log.info("worker stopped", **asdict(self.progress))
        self._executor.shutdown(wait=True)

    async def take(self, messages: list[Incoming]) -> None:
        """Take in a batch and flush; when this returns, the messages may be acknowledged."""
        self.pulse()
        async with self._whole():
            await self._load_missing({message.partition for message in messages})
            with self._traces.batch(messages) as trace:
                left = messages
                while left:
                    with self.observer.deciding(), trace.deciding():
                        work = partial(self._processor.take_some, left)
                        records, left = await self._compute(work)
                    with trace.flushing(records) as traced:
                        await self._flush(traced)
                    self.health.progress(time.monotonic())
        self.progress.messages += len(messages)
        self.observer.records(len(messages))

    @asynccontextmanager
    async def _whole(self) -> AsyncIterator[None]:
        """Alone with the lanes; after an error nothing more is taken in.

        What failed half-way is repaired by a restart from the stored states. Anything taken in
        before that would build on lanes that have run ahead of them.
        """
        async with self._lock:
            if self._error is not None:
                raise StreamError(
                    f"an earlier batch failed ({self._error!r}), so nothing more is taken in: "
                    "restart the worker"
                ) from self._error
            try:
                yield
            except Exception as error:  # a worker that stops cancels: that is not an error
                self._error = error
                raise

    def pulse(self) -> None:
        """Take note that the process runs; call it every second or so.

        Raises
        ------
        SuspendedError
            It was suspended for so long that it may no longer own its partitions. On waking it
            would close hours by the wall clock that another worker has continued, and their
            requests would count twice. What was not acknowledged is delivered to the others.
        """
        self._check_pulse()
        self._pulse = time.clock_gettime(_CLOCK)

    def _check_pulse(self) -> None:
        stood = 0.0 if self._pulse is None else time.clock_gettime(_CLOCK) - self._pulse
        if stood > SUSPENDED_SECONDS:
            raise SuspendedError(
                f"the process was suspended for {stood:.0f} s and may have lost its partitions: "
                "restart it"
            )

    def look(self, lags: Mapping[int, int]) -> None:
        """Record the lag of each partition; never waits for the mathematics."""
        self.observer.lags(lags)
        self.health.look(lags, self._processor.partitions, time.monotonic())

    async def close_idle(
        self, owned: set[int], is_member: Callable[[], Awaitable[bool]] = _always
    ) -> None:
        """Close the open hours of lanes that have been silent for `idle_seconds`.

        Lanes of partitions in `owned` that were taken over from another worker may be silent too.
        Results that depend only on messages are the same in every worker, but here a wall clock
        decides: two workers must never do it for one lane, so `is_member` says whether the
        partitions are still ours. While the broker is away every lane is silent, and others may
        have them.
        """
        self.pulse()
        async with self._whole():
            await self._load_missing(owned)
            if not self.settings.idle_seconds:
                return
            silent = self._silent(self._processor.pending())
            # parts that were published and that a state still carries, see step 3
            carried = self._silent(self._processor.carrying())
            if (silent or carried) and await is_member():
                records = await self._compute(
                    lambda: [
                        record
                        for key in silent
                        for record in self._processor.idle(key.partition, key.model, key.version)
                    ]
                )
                await self._flush(records)

    def _silent(self, keys: Iterable[LaneKey]) -> list[LaneKey]:
        """Lanes from which nothing has come for `idle_seconds`."""
        now, patience = time.monotonic(), self.settings.idle_seconds
        return [key for key in keys if now - self._heard.setdefault(key, now) >= patience]

    async def take_parts(self, partition: int, first: int, values: list[bytes | None]) -> None:
        """Add parts of hours, of which the first has offset `first`; publish what they change."""
        async with self._whole():
            if partition not in self._rates_loaded:
                earlier = read_topic(
                    self.settings, self.topics.hour_sketches, partitions=[partition], before=first
                )
                async for record in earlier:
                    # published before: only the sums are needed
                    await self._compute(partial(self._add_parts, [record.value]))
                self._rates_loaded.add(partition)
            reports = await self._compute(lambda: self._add_parts(values))
            await self._publish([x for r in reports for x in r.to_records(self.topics)])
            for report in reports:
                self.observer.hour(report)

    async def forget(self, topic: str, partition: int) -> None:
        """Drop a partition that another worker takes over."""
        async with self._lock:
            if topic == self.topics.activations:
                self._processor.revoke(partition)
                self._heard = {k: t for k, t in self._heard.items() if k.partition != partition}
            elif topic == self.topics.hour_sketches:
                self._rates.forget()
                self._rates_loaded.clear()

    async def _load_missing(self, partitions: set[int]) -> None:
        for partition in sorted(partitions - self._processor.partitions):
            self.health.load(True, time.monotonic())
            try:
                await self._load(partition)
            finally:
                self.health.load(False, time.monotonic())

    async def _load(self, partition: int) -> None:
        states = await read_lane_states(self.settings, partition)
        parts = await self._compute(partial(self._processor.assign, partition, states))
        if parts:
            await self._publish(parts)
            await self._store_states()
        self._log.info("partition taken over", partition=partition, lanes=len(states))

    def _add_parts(self, values: list[bytes | None]) -> list[HourReport]:
        parts = [part for value in values if (part := self._parse_part(value)) is not None]
        return [report for part in parts if (report := self._rates.add(part)) is not None]

    def _parse_part(self, value: bytes | None) -> HourPart | None:
        try:
            return HourPart.from_bytes(value) if value else None
        except StateError as error:
            self._log.error("hour part is unreadable, skipped", error=str(error))
            return None

    async def _flush(self, records: list[Record]) -> None:
        with self.observer.flushing():
            await self._write(records)
        self.progress.flushes += 1

    async def _write(self, records: list[Record]) -> None:
        parts = [r for r in records if r.topic == self.topics.hour_sketches]
        await self._publish([r for r in records if r.topic != self.topics.hour_sketches])
        if sum(len(part.value or b"") for part in parts) > self.settings.max_message_bytes // 8:
            # Rows of a thousand hours, which a state could not carry. Their parts follow from the
            # messages alone and would come again the same, so they may go first.
            await self._publish(parts)
            self._processor.emitted()
            parts = []
        now = time.monotonic()
        self._heard.update(dict.fromkeys(await self._store_states(), now))
        if parts:
            await self._publish(parts)
            if not self.settings.idle_seconds:
                await self._store_states()

    async def _store_states(self) -> list[LaneKey]:
        """Write the states that changed; return their lanes."""
        states = await self._compute(self._processor.states)
        topic = self.topics.lane_state
        await self._producer.send(
            (Record(topic, state_key(key), state, []), key.partition)
            for key, state in states.items()
        )
        return list(states)

    async def _publish(self, records: list[Record]) -> None:
        producer = self._producer
        await producer.send([(record, await producer.partition_of(record)) for record in records])
        self.progress.published += len(records)
        for record in records:
            if record.topic == self.topics.dead_letter:
                self.progress.dead_letters += 1
            elif record.topic == self.topics.alerts:
                self.progress.alerts += 1

    async def _compute(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
