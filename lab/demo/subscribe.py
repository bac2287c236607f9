"""Reads the output topics, as any subscriber would, until every request is accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
from aiokafka import AIOKafkaConsumer

from latentwatch.stream.core.errors import StreamError
from latentwatch.stream.core.outputs import Outputs, output_roles
from latentwatch.stream.kafka.consumers import stop_consumer
from latentwatch.stream.settings import Settings

__all__ = ["collect"]

PATIENCE_SECONDS = 90.0
"""Without any news for so long something is wrong."""


async def collect(
    settings: Settings, layers: tuple[str, ...], requests: int, check: Callable[[int], None]
) -> Outputs:
    """Read until the hours account for all requests; `check` is told how many they do."""
    roles = output_roles(settings.topics())
    consumer = AIOKafkaConsumer(
        *roles,
        **settings.kafka_options(),
        auto_offset_reset="earliest",
    )
    outputs = Outputs(layers)
    await consumer.start()
    try:
        news = time.monotonic()
        while (
            outputs.counted < requests
            or not outputs.is_consistent
            or not await _read_to_the_end(consumer)
        ):
            batches = await consumer.getmany(timeout_ms=300)
            for record in (r for batch in batches.values() for r in batch):
                outputs.take(roles[record.topic], orjson.loads(record.value)["data"])
                news = time.monotonic()
            check(outputs.counted)
            if time.monotonic() - news > PATIENCE_SECONDS:
                raise StreamError(
                    f"the hours account for {outputs.counted} of {requests} requests, and nothing "
                    f"came for {PATIENCE_SECONDS:g} s; worker.log in the output folder may say why"
                )
    finally:
        await stop_consumer(consumer)
    return outputs


async def _read_to_the_end(consumer: AIOKafkaConsumer) -> bool:
    """Whether nothing waits in any partition: the last state of an alert may lie in another one."""
    ends = await consumer.end_offsets(list(consumer.assignment()))
    return all([await consumer.position(place) >= end for place, end in ends.items()])
