"""Reads everything that the workers have published so far, as any subscriber could."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import TopicPartition

from latentwatch.stream.core.outputs import Outputs, output_roles
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.reader import open_consumer, read_topic, spans_of
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.settings import Settings

__all__ = ["Seen", "dead_letters", "messages_behind", "read_outputs"]


@dataclass(slots=True)
class Seen:
    """What was found in the output topics.

    Parameters
    ----------
    outputs : Outputs
    alert_at_ms : dict
        When the first state of an alert was published, by the broker's clock; by alert id.
    """

    outputs: Outputs
    alert_at_ms: dict[str, int] = field(default_factory=dict)

    def take(self, role: str, record: Any) -> None:
        """Add a record."""
        data = orjson.loads(record.value)["data"]
        self.outputs.take(role, data)
        if role == "alerts":
            self.alert_at_ms.setdefault(data["id"], record.timestamp)


def read_outputs(settings: Settings, layers: tuple[str, ...]) -> Seen:
    """Read alerts, rates and flagged requests from the beginning to the end of their topics."""
    return asyncio.run(_read(settings, layers))


async def _read(settings: Settings, layers: tuple[str, ...]) -> Seen:
    roles = output_roles(settings.topics())
    seen = Seen(Outputs(layers))
    async for record in read_topic(settings, *roles):
        seen.take(roles[record.topic], record)
    return seen


def messages_behind(settings: Settings) -> int:
    """Messages of the activations topic that the workers have not committed."""

    async def ask() -> int:
        async with WorkerLag(settings) as lag:
            return await lag.total()

    return asyncio.run(ask())


def dead_letters(settings: Settings) -> int:
    """Number of messages that were refused."""
    topic = settings.topics().dead_letter

    async def ask() -> int:
        places = [TopicPartition(topic, p) for p in range(await partition_count(settings, topic))]
        async with open_consumer(settings) as consumer:
            return sum(end for _, end in (await spans_of(consumer, places)).values())

    return asyncio.run(ask())
