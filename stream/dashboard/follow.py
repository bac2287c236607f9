"""Reads the output topics into the history, starting where the history ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from latentwatch.stream.core.errors import BrokerError, EventError, StreamError
from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.records import ROLES, Parsed, parse
from latentwatch.stream.dashboard.store import Place, Store
from latentwatch.stream.kafka.bounded_batches import Bounds
from latentwatch.stream.kafka.reader import Consumer, open_consumer, spans_of
from latentwatch.stream.kafka.topics import partition_counts
from latentwatch.stream.settings import Settings

__all__ = ["Follower", "Progress"]

POLL_MS = 300
MOST_RECORDS = 2000

LOOK_SECONDS = 2.0
"""Between two checks of the topics' ends; a consumer that only waits never notices a failure."""

TOPICS_SECONDS = 10.0
"""Between two checks for new topics and partitions."""

LOOK_PATIENCE_SECONDS = 5.0
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 15.0

FORGET_SECONDS = 600.0

KINDS = {
    "alerts": "alerts",
    "flagged_requests": "hours",
    "detection_rates": "hours",
    "dead_letter": "letters",
}


@dataclass
class Progress:
    """How far the follower has read, for people and probes.

    Parameters
    ----------
    trouble : str
        Why nothing can be read, and what to do; empty if all is well.
    missing : list of str
        Topics that do not exist yet.
    behind : int or None
        Records still to be read; None before the first check.
    taken, passed_over : Counter
        By role: records read, and records skipped because they do not belong in their topic.
    """

    trouble: str = "connecting"
    missing: list[str] = field(default_factory=list)
    behind: int | None = None
    taken: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def ready(self) -> tuple[bool, str]:
        """Whether the history is up to date, and why not."""
        if self.trouble:
            return False, self.trouble
        if self.missing:
            return False, _missing(self.missing)
        if self.behind is None or self.behind > MOST_RECORDS:
            return False, f"catching up: {self.behind or 'some'} records still to be read"
        return True, "up to date"


class Follower:
    """Reads four topics without a consumer group; the history holds the offsets.

    Parameters
    ----------
    settings : Settings
    store : Store
    changes : Changes
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        changes: Changes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._store, self._changes = settings, store, changes
        self._clock = clock
        topics = settings.topics()
        self._roles = {getattr(topics, role): role for role in ROLES}
        self._log = structlog.get_logger("latentwatch.dashboard")
        self._forget_at = 0.0
        self.progress = Progress()

    async def run(self) -> None:
        """Read until cancelled; an unreachable broker is retried forever."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                counts = await partition_counts(self._settings, self._roles)
                pause = FIRST_PAUSE_SECONDS
                await self._session(counts)
            except (KafkaError, StreamError, OSError, TimeoutError) as error:
                self._in_trouble(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE_SECONDS)

    async def _session(self, counts: Mapping[str, int]) -> None:
        """Read the topics that exist, until that set changes."""
        missing = [topic for topic in self._roles if topic not in counts]
        self._is_well()
        if missing and missing != self.progress.missing:
            self._log.warning(_missing(missing))
        self.progress.missing = missing
        self._changes.publish("status")
        places = [TopicPartition(topic, p) for topic, n in counts.items() for p in range(n)]
        if not places:
            await asyncio.sleep(LOOK_SECONDS)
            return
        bounds = Bounds.of_dead_letters(self._settings)
        async with open_consumer(
            self._settings, bounds=bounds, max_poll_records=MOST_RECORDS
        ) as consumer:
            consumer.assign(places)
            await self._begin(consumer, places)
            await self._follow(consumer, counts)

    async def _begin(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        known = self._store.places()
        for place, (begin, end) in (await spans_of(consumer, places)).items():
            offset = known.get(Place(*place), begin)
            if offset > end:
                self._log.warning(
                    "the topic is shorter than the history, so it has been recreated: reading it "
                    "from the start",
                    topic=place.topic,
                    partition=place.partition,
                )
                offset = begin
            consumer.seek(place, max(offset, begin))

    async def _follow(self, consumer: Consumer, counts: Mapping[str, int]) -> None:
        look_at, topics_at = 0.0, time.monotonic() + self._topics_seconds()
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS)
            if batches:
                await self._take(batches)
            now = time.monotonic()
            if now >= look_at:
                await self._look(consumer)
                look_at = time.monotonic() + LOOK_SECONDS
            if now >= topics_at:
                if await partition_counts(self._settings, self._roles) != counts:
                    return
                topics_at = time.monotonic() + self._topics_seconds()

    async def _take(self, batches: Mapping[TopicPartition, list[Any]]) -> None:
        parsed, places, kinds = [], {}, set()
        for place, records in batches.items():
            role = self._roles[place.topic]
            found = [self._parse(role, record) for record in records]
            parsed += [one for one in found if one is not None]
            places[Place(*place)] = records[-1].offset + 1
            self.progress.taken[role] += len(records)
            kinds.add(KINDS[role])
        await asyncio.to_thread(self._store.take, parsed, places)
        self._changes.publish(*kinds)

    def _parse(self, role: str, record: Any) -> Parsed | None:
        try:
            return parse(role, record)
        except EventError as error:
            self.progress.passed_over[role] += 1
            self._log.warning(
                "skipped a record that does not belong in this topic: check who else writes to it, "
                "or upgrade the dashboard together with the worker",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=str(error).splitlines()[0][:200],
            )
            return None

    async def _look(self, consumer: Consumer) -> None:
        """Check that the broker responds, and how many records are still to be read."""
        places = consumer.assignment()
        async with asyncio.timeout(LOOK_PATIENCE_SECONDS):
            ends = await consumer.end_offsets(list(places))
            behind = sum([max(0, ends[p] - await consumer.position(p)) for p in places])
        if behind != self.progress.behind:
            self.progress.behind = behind
            self._changes.publish("status")
        if self._clock() >= self._forget_at:
            await asyncio.to_thread(self._store.forget, self._clock())
            self._forget_at = self._clock() + FORGET_SECONDS

    def _topics_seconds(self) -> float:
        return LOOK_SECONDS if self.progress.missing else TOPICS_SECONDS

    def _in_trouble(self, error: Exception) -> None:
        text = (
            str(error)
            if isinstance(error, BrokerError)
            else f"the topics at {self._settings.bootstrap_servers} cannot be read ({error!r}): "
            "the page shows the history, and the dashboard retries"
        )
        if text != self.progress.trouble:
            self._log.warning(text)
            self.progress.trouble = text
            self._changes.publish("status")

    def _is_well(self) -> None:
        if self.progress.trouble:
            self.progress.trouble = ""
            self._log.info("reading", servers=self._settings.bootstrap_servers)
            self._changes.publish("status")


def _missing(topics: list[str]) -> str:
    names = ", ".join(topics)
    return f"missing topic {names}: create it with `latentwatch topics`, or check topic_prefix"
