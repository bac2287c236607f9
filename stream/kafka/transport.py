"""Faust's Kafka transport with a consumer that loses nothing and waits for nothing.

While partitions change hands, nothing may be read: what is read meanwhile is thrown away, and
before the partitions are given free the consumer goes back to what is committed. Faust leaves four
gaps, in each of which messages are passed over for good:

- It stops to read only where it has partitions to lose. A worker that had none reads on while it
  is given some, and the buffers are emptied after it went back.
- A poll that began before may read on from where it went back to.
- Where nothing is committed yet, it does not go back at all.
- When partitions change hands twice in a row, the end of the first time sets off what the second
  time has stopped.

When nothing changes, it shall go on as soon as there is room for more. Faust pauses a partition
while its buffer is full, which under load is most of the time, and learns late that it was resumed:

- A poll that began before waits for its whole second, though the records lie ready.
- A poll with nothing to ask for sleeps for a second.
- aiokafka asks a broker for one thing at a time. Meanwhile it asks for the other partitions alone,
  and the broker may hold that answer for a second and a half.

Alerts came up to 2.6 seconds after their requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.tables import TableManager
from faust.tables.recovery import Recovery
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Transport
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.types import TP

from latentwatch.stream.kafka.reader import Consumer, open_consumer
from latentwatch.stream.settings import Settings

__all__ = ["PromptApp"]

WAIT_SECONDS = 0.05
"""How long a poll waits for records, and a broker with an answer, when there is nothing new."""

ANSWER_SECONDS = 2.0
"""How long the group's coordinator may take to say whether we are a member."""


class _Thread(AIOKafkaConsumerThread):
    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Consumer:
        """Faust's consumer from our own constructor, with an answer within `WAIT_SECONDS`."""
        app: Any = self.app
        conf = app.conf
        return open_consumer(
            app.kafka_settings,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=_ms(conf.broker_max_poll_interval or 0),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=_ms(WAIT_SECONDS),
            request_timeout_ms=_ms(conf.broker_request_timeout),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=_ms(conf.broker_session_timeout),
            rebalance_timeout_ms=_ms(conf.broker_rebalance_timeout),
            heartbeat_interval_ms=_ms(conf.broker_heartbeat_interval),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )

    def highwater(self, tp: TP) -> int:
        """The offset up to which records can be read: open transactions are not waited for."""
        consumer = self._ensure_consumer()
        stable = consumer.last_stable_offset(tp)
        # brokers before Kafka 0.11 do not say
        return int(consumer.highwater(tp) or 0) if stable is None else int(stable)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        found: Mapping[TP, int] = await self.call_thread(self._go_back)
        return found

    async def _go_back(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        offsets: Mapping[TP, int] = await consumer.seek_to_committed()
        # aiokafka leaves those alone, wherever they stand
        if unknown := [place for place, offset in offsets.items() if not offset]:
            await consumer.seek_to_beginning(*unknown)
        return offsets


class _Consumer(FaustConsumer):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._reading = asyncio.Lock()
        self._asked: asyncio.Future[bool] | None = None
        self._assignments = 0
        self.settled: int | None = 0
        """Number of the assignment; None while partitions change hands."""
        self.resumable: int | None = 0
        """The assignment that is being made ready."""

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def is_member(self) -> bool:
        """Ask the group's coordinator whether what was assigned is still ours.

        Whoever was cut off for longer than a session does not know that others have it by now.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asked}, timeout=ANSWER_SECONDS)
        return self._asked.done() and self._asked.result()

    async def _ask(self) -> bool:
        try:
            coordinator = self._thread._ensure_consumer()._coordinator
            return bool(await self._thread.call_thread(coordinator._do_heartbeat))
        except (KafkaError, ConsumerNotStarted, AttributeError):
            return False

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Say nothing: see `latentwatch.stream.service.metrics.health`.

        Faust counts from when the worker was started, or had the partition last, and so calls one
        stuck that it was given a moment ago.
        """

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.settled = None
        self.stop_flow()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._assignments += 1
        self.settled = self._assignments
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_flow(self) -> None:
        # an assignment that is over already must not set off the next one, which is not ready
        if self.settled is not None and self.resumable == self.settled:
            super().resume_flow()

    async def perform_seek(self) -> None:
        async with self._reading:
            await super().perform_seek()

    async def _wait_next_records(self, timeout: float) -> Any:
        while not self.should_stop:
            if not self.flow_active:
                await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # Faust's own form
            async with self._reading:
                if self.flow_active:
                    return await self._poll(min(timeout, WAIT_SECONDS))
        return {}, set()

    async def _poll(self, timeout: float) -> Any:
        if self._get_active_partitions():
            return await super()._wait_next_records(timeout)
        await self.sleep(timeout)
        return {}, set()


def _ms(seconds: float) -> int:
    return int(1e3 * seconds)


class _Transport(Transport):
    Consumer = _Consumer


class _Recovery(Recovery):
    async def _resume_streams(self, generation_id: int = 0) -> None:
        consumer: Any = self.app.consumer
        consumer.resumable = consumer.settled
        await super()._resume_streams(generation_id)


class _Tables(TableManager):
    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class PromptApp(faust.App):
    """A Faust app with this transport.

    Parameters
    ----------
    settings : Settings
        How its consumer reaches the broker.
    **options
        As for Faust's app.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.kafka_settings = settings
        super().__init__(settings.application_id, TableManager=_Tables, **options)

    def _new_transport(self) -> Transport:
        return _Transport(self.conf.broker_consumer, self, loop=self.loop)
