"""What stands in the end of a stream of output records: the newest of each key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from latentwatch.stream.core.events import Record
from latentwatch.stream.core.topic_names import Topics

__all__ = ["Standing"]


@dataclass(slots=True)
class Standing:
    """Alerts, rates and flagged requests as a reader of the topics keeps them.

    Parameters
    ----------
    topics : Topics
    alerts : dict of id to data
    rates : dict of key to data
        Newest revision of each model, version, layer and hour.
    flagged : dict of key to data
        Requests that are flagged and were not withdrawn.
    """

    topics: Topics
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rates: dict[str, dict[str, Any]] = field(default_factory=dict)
    flagged: dict[tuple[str, int, int], dict[str, Any]] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Take a record in; those of other topics are passed over."""
        if record.topic == self.topics.alerts:
            data = _data(record)
            self.alerts[data["id"]] = data
        elif record.topic == self.topics.detection_rates:
            self.rates[record.key.decode()] = _data(record)
        elif record.topic == self.topics.flagged_requests:
            data = _data(record)
            who = (record.key.decode(), data["partition"], data["offset"])
            if data["status"] == "flagged":
                self.flagged[who] = data
            else:
                self.flagged.pop(who, None)


def _data(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(record.value or b"")["data"]
    return data
