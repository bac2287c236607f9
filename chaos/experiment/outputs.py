"""Reads all that the workers have published so far, as any subscriber could."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from latentwatch.stream.core.outputs import Outputs, output_roles
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.topics import partition_count
from latentwatch.stream.settings import Settings

__all__ = ["Seen", "dead_letters", "messages_behind", "read_outputs"]


@dataclass(slots=True)
class Seen:
    """What the output topics say.

    Parameters
    ----------
    outputs : Outputs
    alert_at_ms : dict
        When the first state of an alert was published, by the broker's clock; by alert id.
    """

    outputs: Outputs
    alert_at_ms: dict[str, int] = field(default_factory=dict)

    def take(self, role: str, record: Any) -> None:
        """Take a record in."""
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
    async with AIOKafkaConsumer(**settings.kafka_options()) as consumer:
        places = [place for topic in roles for place in await _places(settings, topic)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        left = {place for place, end in ends.items() if end}
        while left:
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    seen.take(roles[place.topic], record)
            left = {p for p in left if await consumer.position(p) < ends[p]}
    return seen


def messages_behind(settings: Settings) -> int:
    """Messages of the activations topic that the workers have not committed."""
    return asyncio.run(_behind(settings))


async def _behind(settings: Settings) -> int:
    ends = await _ends(settings, settings.topics().activations)
    async with WorkerLag(settings) as lag:
        return await lag.messages({place.partition: end for place, end in ends.items()})


def dead_letters(settings: Settings) -> int:
    """Messages that were refused."""
    return sum(asyncio.run(_ends(settings, settings.topics().dead_letter)).values())


async def _ends(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    async with AIOKafkaConsumer(**settings.kafka_options()) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(await _places(settings, topic))
        return ends


async def _places(settings: Settings, topic: str) -> list[TopicPartition]:
    count = await partition_count(settings, topic)
    return [TopicPartition(topic, partition) for partition in range(count)]
