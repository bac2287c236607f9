"""One target and the alerts topic: what it was told, what is next, and where it stands.

Each target has a consumer group of its own, so each goes at its own pace. An offset is committed
when the notification was delivered, never before: what a process that ended did not deliver, the
next one does. What the target was told before is read from the topic itself, up to the committed
offset: the topic is compacted, and short.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import structlog
from aiokafka import TopicPartition

from latentwatch.stream.kafka.reader import Consumer, Spans, open_consumer, read_spans, spans_of
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.notify.change import AlertState, Book, alert_state
from latentwatch.stream.notify.errors import DeliveryError
from latentwatch.stream.notify.retry import Retry
from latentwatch.stream.notify.targets import Target
from latentwatch.stream.settings import Settings

__all__ = ["Follower", "first_of_firing", "group_id"]

POLL_MS = 500

COMMIT_AGAIN_SECONDS = 3600.0
"""Kafka forgets the offsets of a group from which nothing came for days."""


def group_id(settings: Settings, target: str) -> str:
    """Name of the consumer group of a target."""
    return f"{settings.application_id}-notify-{target}"


class Follower:
    """Tells one target of the changes in the alerts topic.

    Parameters
    ----------
    settings : Settings
    target : Target
    retry : Retry
        Its pause says when to end.
    """

    def __init__(self, settings: Settings, target: Target, retry: Retry) -> None:
        self._settings, self._target, self._retry = settings, target, retry
        self._topic = settings.topics().alerts
        self._log = structlog.get_logger("latentwatch.notify").bind(target=target.name)
        self._book = Book()
        self._refresh_at = self._commit_at = time.monotonic()

    async def run(self) -> None:
        """Tell until the process is to end.

        Raises
        ------
        BrokerError, TopicError, KafkaError
            No broker, no topic, or a broker that fails for long.
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
            self._log.info("following", topic=self._topic, firing=len(self._book.firing))
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
        """Learn what was told, and go to where the target stands."""
        begin, end = (await spans_of(consumer, [place]))[place]
        stands = await consumer.committed(place)
        if stands is None or stands > end:
            # committed before anything is told: what happens from here on is never lost
            states = await self._states(consumer, {place: (begin, end)})
            stands = first_of_firing(states, end)
            await consumer.commit({place: stands})
        for _, state in await self._states(consumer, {place: (begin, stands)}):
            self._book.enter(state)
        consumer.seek(place, max(begin, stands))

    async def _take(self, consumer: Consumer, place: TopicPartition, record: Any) -> bool:
        """Tell of a record if it is news; False if the process is to end before that is done."""
        state = self._state(record)
        if state is None:
            return True
        notification = self._book.news(state)
        if notification is None:
            self._book.enter(state)
            return True
        log = self._log.bind(alert=state.id, status=state.status, severity=state.severity)
        if not await self._retry.until_delivered(lambda: self._target.tell(notification), log):
            return False
        self._book.enter(state)
        await consumer.commit({place: record.offset + 1})
        log.info("told")
        return True

    async def _states(self, consumer: Consumer, spans: Spans) -> list[tuple[int, AlertState]]:
        """Offsets and states of the records in a stretch, without those that are not alerts."""
        records = read_spans(consumer, spans)
        found = [(record.offset, self._state(record)) async for record in records]
        return [(offset, state) for offset, state in found if state is not None]

    def _state(self, record: Any) -> AlertState | None:
        try:
            return alert_state(record.value, record.headers)
        except ValueError as error:
            self._log.warning(
                "passed over a record that is no alert: see who else writes into the topic",
                partition=record.partition,
                offset=record.offset,
                reason=str(error),
            )
            return None

    async def _refresh(self) -> None:
        seconds, now = self._target.refresh_seconds, time.monotonic()
        if seconds is None or now < self._refresh_at:
            return
        try:
            await self._target.refresh(self._book.firing)
            self._refresh_at = now + seconds
        except DeliveryError as error:
            # early enough for what was sent last to be still valid
            self._refresh_at = now + seconds / 4
            self._log.warning("not refreshed", reason=str(error))

    async def _commit_again(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        if time.monotonic() >= self._commit_at:
            await consumer.commit({place: await consumer.position(place) for place in places})
            self._commit_at = time.monotonic() + COMMIT_AGAIN_SECONDS


def first_of_firing(states: Iterable[tuple[int, AlertState]], end: int) -> int:
    """Where a new target begins: with the oldest alert that is still firing, or else at the end.

    Parameters
    ----------
    states : iterable of (offset, state)
        Of a partition, in order.
    end : int
        Offset after the last.
    """
    firing: dict[str, int] = {}
    for offset, state in states:
        if state.status == "firing":
            firing.setdefault(state.id, offset)
        else:
            firing.pop(state.id, None)
    return min(firing.values(), default=end)
