"""Follows the alerts topic for one target, and remembers what the target was notified of.

Each target has its own consumer group, so a slow target does not delay the others. An offset is
committed only after its notification was delivered, so a restarted process delivers whatever is
still pending. What the target already knows is read from the topic itself, up to the committed
offset; the topic is compacted and therefore short.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import TopicPartition

from latentwatch.stream.kafka.reader import Consumer, Spans, open_consumer, read_spans, spans_of
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.notify.change import AlertReader, AlertState, Announced
from latentwatch.stream.notify.retry import Retry
from latentwatch.stream.notify.targets import DeliveryError, Target
from latentwatch.stream.settings import Settings

__all__ = ["Follower", "first_of_firing", "group_id"]

POLL_MS = 500

COMMIT_AGAIN_SECONDS = 3600.0
"""Kafka deletes the offsets of a group that has committed nothing for days."""


def group_id(settings: Settings, target: str) -> str:
    """Consumer group of a target."""
    return f"{settings.application_id}-notify-{target}"


class Follower:
    """Notifies one target of the changes in the alerts topic.

    Parameters
    ----------
    settings : Settings
    target : Target
    retry : Retry
        Its pause reports when the process stops.
    """

    def __init__(self, settings: Settings, target: Target, retry: Retry) -> None:
        self._settings, self._target, self._retry = settings, target, retry
        self._topic = settings.topics().alerts
        self._log = structlog.get_logger("latentwatch.notify").bind(target=target.name)
        self._reader, self._announced = AlertReader(self._log), Announced()
        self._refresh_at = self._commit_at = time.monotonic()

    async def run(self) -> None:
        """Notify until the process stops.

        Raises
        ------
        BrokerError, TopicError, KafkaError
            The broker is unreachable or keeps failing, or the topic does not exist.
        """
        places = [
            TopicPartition(self._topic, partition)
            for partition in range(await partition_count(self._settings, self._topic))
        ]
        async with open_consumer(
            self._settings, group_id=group_id(self._settings, self._target.name)
        ) as consumer:
            consumer.assign(places)
            for place in places:
                await self._begin(consumer, place)
            self._log.info("following", topic=self._topic, firing=len(self._announced.firing))
            await self._follow(consumer, places)

    async def _follow(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        while not await self._retry.pause(0):
            for place, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                for record in records:
                    if not await self._take(consumer, place, record):
                        return
                await consumer.commit({place: records[-1].offset + 1})
            await self._refresh()
            await self._commit_again(consumer, places)

    async def _begin(self, consumer: Consumer, place: TopicPartition) -> None:
        """Load what the target already knows, and seek to its committed offset."""
        begin, end = (await spans_of(consumer, [place]))[place]
        committed = await consumer.committed(place)
        if committed is None or committed > end:
            # committed before the first delivery, so that no later alert can be lost
            states = await self._states(consumer, {place: (begin, end)})
            committed = first_of_firing(states, end)
            await consumer.commit({place: committed})
        for _, state in await self._states(consumer, {place: (begin, committed)}):
            self._announced.add(state)
        consumer.seek(place, max(begin, committed))

    async def _take(self, consumer: Consumer, place: TopicPartition, record: Any) -> bool:
        """Deliver what a record changes, if anything; False if the process stops before that."""
        state = self._reader.read(record)
        if state is None:
            return True
        notification = self._announced.pending(state)
        if notification is None:
            self._announced.add(state)
            return True
        event = state.event
        log = self._log.bind(alert=event.id, status=event.status, severity=event.severity)
        if not await self._retry.until_delivered(lambda: self._target.send(notification), log):
            return False
        self._announced.add(state)
        await consumer.commit({place: record.offset + 1})
        log.info("notified")
        return True

    async def _states(self, consumer: Consumer, spans: Spans) -> list[tuple[int, AlertState]]:
        """Offsets and states of the records in a range, without those that are not alerts."""
        records = read_spans(consumer, spans)
        found = [(record.offset, self._reader.read(record)) async for record in records]
        return [(offset, state) for offset, state in found if state is not None]

    async def _refresh(self) -> None:
        seconds, now = self._target.refresh_seconds, time.monotonic()
        if seconds is None or now < self._refresh_at:
            return
        try:
            await self._target.refresh(self._announced.firing)
            self._refresh_at = now + seconds
        except DeliveryError as error:
            # soon enough that what was sent last is still valid
            self._refresh_at = now + seconds / 4
            self._log.warning("not refreshed", reason=str(error))

    async def _commit_again(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if time.monotonic() >= self._commit_at:
            await consumer.commit({place: await consumer.position(place) for place in places})
            self._commit_at = time.monotonic() + COMMIT_AGAIN_SECONDS


def first_of_firing(states: Iterable[tuple[int, AlertState]], end: int) -> int:
    """Where a new target starts: at the oldest alert that is still firing, or else at the end.

    Parameters
    ----------
    states : iterable of (offset, state)
        Of one partition, in order.
    end : int
        Offset after the last.
    """
    firing: dict[str, int] = {}
    for offset, state in states:
        if state.event.status == "firing":
            firing.setdefault(state.event.id, offset)
        else:
            firing.pop(state.event.id, None)
    return min(firing.values(), default=end)
