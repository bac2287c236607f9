"""Reads the output topics, as any subscriber would, until every request is accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson

from latentwatch.stream.core.errors import StreamError
from latentwatch.stream.core.outputs import Outputs, output_roles
from latentwatch.stream.kafka.reader import has_reached, open_consumer
from latentwatch.stream.settings import Settings

__all__ = ["collect"]

PATIENCE_SECONDS = 90.0
"""How long the topics may be silent before something must be wrong."""


async def collect(
    settings: Settings, layers: tuple[str, ...], requests: int, check: Callable[[int], None]
) -> Outputs:
    """Read until the hours account for all requests; `check` gets the number so far."""
    roles = output_roles(settings.topics())
    outputs = Outputs(layers)
    async with open_consumer(settings, *roles) as consumer:
        news = time.monotonic()
        while (
            outputs.counted < requests
            or not outputs.is_consistent
            # the newest state of an alert may lie in another partition than the hours do
            or not await has_reached(consumer, await consumer.end_offsets(consumer.assignment()))
        ):
            batches = await consumer.getmany(timeout_ms=300)
            for record in (r for batch in batches.values() for r in batch):
                outputs.take(roles[record.topic], orjson.loads(record.value)["data"])
                news = time.monotonic()
            check(outputs.counted)
            if time.monotonic() - news > PATIENCE_SECONDS:
                raise StreamError(
                    f"the hours account for {outputs.counted} of {requests} requests, and nothing "
                    f"came for {PATIENCE_SECONDS:g} s: see worker.log in the output folder"
                )
    return outputs
