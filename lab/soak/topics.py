"""Everything that is in the topics at the end, in the order of each partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentwatch.stream.kafka.bounded_batches import Bounds
from latentwatch.stream.kafka.reader import read_topic
from latentwatch.stream.kafka.topics import partition_counts
from latentwatch.stream.settings import Settings

__all__ = ["Content", "read_topics"]

ROLES = (
    "activations", "alerts", "detection_rates", "flagged_requests", "hour_sketches", "dead_letter"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """Records of the topics, by the role of the topic."""

    records: dict[str, list[Any]]

    def __getitem__(self, role: str) -> list[Any]:
        return self.records[role]


async def read_topics(settings: Settings) -> Content:
    """Read the topics to their present ends."""
    topics = settings.topics()
    roles = {getattr(topics, role): role for role in ROLES}
    there = await partition_counts(settings, roles)
    content: dict[str, list[Any]] = {role: [] for role in ROLES}
    bounds = Bounds.of_dead_letters(settings)
    records = read_topic(settings, *there, bounds=bounds, max_partition_fetch_bytes=4 << 20)
    async for record in records:
        content[roles[record.topic]].append(record)
    return Content(content)
