"""Sends the synthetic stream at a steady rate, and keeps trying while brokers are away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from aiokafka import AIOKafkaProducer

from latentwatch.lab.soak.synthetic_stream import Planned
from latentwatch.stream.settings import Settings

__all__ = ["Sender"]

PATIENCE_MS = 300_000
"""How long a message waits for a broker; longer than any fault lasts."""

MOST_UNDER_WAY = 2_000


class Sender:
    """Sends steps of messages until `stop` is called.

    Parameters
    ----------
    settings : Settings
        With the servers of the harness, which are never cut off.
    steps : iterator of list of Planned
    steps_per_second : float
    """

    def __init__(
        self, settings: Settings, steps: Iterator[list[Planned]], steps_per_second: float
    ) -> None:
        self._settings, self._steps = settings, steps
        self._gap = 1.0 / steps_per_second
        self._topic = settings.topics().activations
        self._stopped = asyncio.Event()
        self._under_way: set[asyncio.Future[Any]] = set()
        self.sent: list[Planned] = []
        self.ends: dict[int, int] = {}

    def stop(self) -> None:
        """End after the current step."""
        self._stopped.set()

    async def run(self) -> None:
        """Send until `stop`; returns when every message is acknowledged."""
        producer = AIOKafkaProducer(
            **self._settings.kafka_options(),
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=PATIENCE_MS,
            linger_ms=5,
        )
        async with producer:
            due = asyncio.get_running_loop().time()
            while not self._stopped.is_set():
                for message in next(self._steps):
                    await self._send(producer, message)
                due = max(due + self._gap, asyncio.get_running_loop().time() - 5 * self._gap)
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            await asyncio.gather(*self._under_way)

    async def _send(self, producer: AIOKafkaProducer, message: Planned) -> None:
        future = await producer.send(
            self._topic,
            message.value,
            message.key,
            message.partition,
            headers=message.headers,
        )
        self.sent.append(message)
        self._under_way.add(future)
        future.add_done_callback(self._acknowledged)
        if len(self._under_way) > MOST_UNDER_WAY:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    def _acknowledged(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled() or future.exception() is not None:
            return  # it stays in the set, and raises when it is awaited
        self._under_way.discard(future)
        place = future.result()
        self.ends[place.partition] = max(place.offset + 1, self.ends.get(place.partition, 0))
