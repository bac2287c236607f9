"""Reads the output topics, as any subscriber would, until every request is accounted for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer

from stream.consumers import stop_consumer
from stream.errors import StreamError
from stream.settings import Settings

__all__ = ["Outputs", "collect"]

PATIENCE_SECONDS = 90.0
"""Without any news for so long something is wrong."""

_NO_ROW = {"requests": 0}


@dataclass(slots=True)
class Outputs:
    """Data of the CloudEvents of the three output topics.

    Parameters
    ----------
    layers : tuple of str
        Layers that each hour has a row of.
    alerts : list of dict
        Every state, in order.
    rates : dict
        Newest revision by (layer, hour).
    flagged : dict
        By request id.
    """

    layers: tuple[str, ...]
    alerts: list[dict[str, Any]] = field(default_factory=list)
    rates: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    flagged: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take_rate(self, row: dict[str, Any]) -> None:
        """Keep the newest revision."""
        key = (row["layer"], row["hour"])
        if key not in self.rates or row["revision"] >= self.rates[key]["revision"]:
            self.rates[key] = row

    def hours(self, layer: str) -> list[dict[str, Any]]:
        """Rows of one layer, by hour."""
        return [row for (name, _), row in sorted(self.rates.items()) if name == layer]

    @property
    def counted(self) -> int:
        """Requests that hours account for in every layer.

        The rows of an hour lie in several partitions: one layer's may come before the others'.
        """
        return sum(
            min(self.rates.get((layer, hour), _NO_ROW)["requests"] for layer in self.layers)
            for hour in {hour for _, hour in self.rates}
        )

    @property
    def is_consistent(self) -> bool:
        """Whether all flagged requests that the hours announce have arrived."""
        announced = {hour: row["flagged"] for (_, hour), row in self.rates.items()}
        return len(self.flagged) >= sum(announced.values())


async def collect(
    settings: Settings, layers: tuple[str, ...], requests: int, check: Callable[[int], None]
) -> Outputs:
    """Read until the hours account for all requests; `check` is told how many they do."""
    topics = settings.topics()
    consumer = AIOKafkaConsumer(
        topics.alerts,
        topics.detection_rates,
        topics.flagged_requests,
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
                data = orjson.loads(record.value)["data"]
                if record.topic == topics.alerts:
                    outputs.alerts.append(data)
                elif record.topic == topics.detection_rates:
                    outputs.take_rate(data)
                elif data["status"] == "flagged":
                    outputs.flagged[data["request_id"]] = data
                else:
                    outputs.flagged.pop(data["request_id"], None)
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
