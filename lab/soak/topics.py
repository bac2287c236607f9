"""Everything that stands in the topics at the end, in the order of each partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from latentwatch.stream.kafka.topics import partition_counts
from latentwatch.stream.settings import Settings

__all__ = ["Content", "read_topics"]

ROLES = (
    "activations", "alerts", "detection_rates", "flagged_requests", "hour_sketches", "dead_letter"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """Records of the topics, by the part that the topic plays."""

    records: dict[str, list[Any]]

    def __getitem__(self, role: str) -> list[Any]:
        return self.records[role]


async def read_topics(settings: Settings) -> Content:
    """Read the topics to their present ends."""
    topics = settings.topics()
    roles = {getattr(topics, role): role for role in ROLES}
    counts = await partition_counts(settings, roles)
    places = [TopicPartition(topic, p) for topic, n in counts.items() for p in range(n)]
    content: dict[str, list[Any]] = {role: [] for role in ROLES}
    async with AIOKafkaConsumer(
        **settings.kafka_options(), max_partition_fetch_bytes=4 << 20
    ) as consumer:
        consumer.assign(places)
        await consumer.seek_to_beginning()
        left = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
        while left:
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                content[roles[place.topic]] += [r for r in records if r.offset < left.get(place, 0)]
            left = {p: end for p, end in left.items() if await consumer.position(p) < end}
    return Content(content)
