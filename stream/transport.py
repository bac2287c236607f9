"""Faust's Kafka transport with a consumer that goes on as soon as there is room for more.

Faust pauses a partition while its buffer is full, which under load is most of the time, and learns
late that it was resumed, in three ways:

- A poll that began before waits for its whole second, though the records lie ready.
- A poll with nothing to ask for sleeps for a second.
- aiokafka asks a broker for one thing at a time. Meanwhile it asks for the other partitions alone,
  and the broker may hold that answer for a second and a half.

Alerts came up to 2.6 seconds after their requests.
"""

from __future__ import annotations

import asyncio
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport

__all__ = ["PromptApp"]

WAIT_SECONDS = 0.05
"""How long a poll waits for records, and a broker with an answer, when there is nothing new."""


class _Thread(AIOKafkaConsumerThread):
    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        # Faust has no setting for it
        consumer._fetch_max_wait_ms = int(1e3 * WAIT_SECONDS)
        return consumer


class _Consumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> Any:
        if self.flow_active and not self._get_active_partitions():
            await self.sleep(WAIT_SECONDS)
            return {}, set()
        return await super()._wait_next_records(min(timeout, WAIT_SECONDS))


class _Transport(Transport):
    Consumer = _Consumer


class PromptApp(faust.App):
    """A Faust app with this transport."""

    def _new_transport(self) -> Transport:
        return _Transport(self.conf.broker_consumer, self, loop=self.loop)
