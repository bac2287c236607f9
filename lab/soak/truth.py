"""The right content of the output topics: an offline replay of the input topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentwatch.producers.wire import WireError, decode
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.replay.offline import Message, OfflineReplay
from latentwatch.stream.service.baselines import BaselineStore, featuriser_of
from latentwatch.stream.settings import Settings

__all__ = ["Hour", "Truth", "as_they_came", "hour_sums", "truth_of"]

Hour = tuple[str, str, int]
"""Model, version, and hours since 1970."""


@dataclass(frozen=True)
class Truth:
    """The output of an undisturbed worker.

    Parameters
    ----------
    requests : Counter of Hour
        Sound requests.
    sums : dict of (Hour, baseline) to Tally
        Sum of what the lanes counted in an hour.
    records : dict of topic to list of Record
        Alerts, rates and flagged requests, in the order of an offline replay.
    refused : dict of (partition, offset) to str
        Refused messages, and the reason.
    """

    requests: Counter[Hour] = field(default_factory=Counter)
    sums: dict[tuple[Hour, str], Tally] = field(default_factory=dict)
    records: dict[str, list[Record]] = field(default_factory=dict)
    refused: dict[tuple[int, int], str] = field(default_factory=dict)


def truth_of(settings: Settings, messages: Iterable[Any]) -> Truth:
    """Compute the truth from the records of the input topic.

    Only the pure core decides, without Kafka, flushes, restarts or a clock.
    """
    truth = Truth()
    baselines = BaselineStore.of(settings, lambda: 0.0)
    replay = OfflineReplay(
        settings, baselines.find, featuriser=featuriser_of(settings.feature_device)
    )
    topics = settings.topics()
    lanes = list(replay.lanes(_sound(messages, truth)))
    truth.sums.update(
        hour_sums(
            HourPart.from_bytes(r.value or b"") for r in lanes if r.topic == topics.hour_sketches
        )
    )
    for record in replay.with_rates(lanes):
        truth.records.setdefault(record.topic, []).append(record)
    return truth


def _sound(messages: Iterable[Any], truth: Truth) -> Iterator[Message]:
    for record in as_they_came(messages):
        try:
            batch = decode(record.value or b"", record.headers, key=record.key)
        except WireError as error:
            truth.refused[record.partition, record.offset] = str(error.reason)
            continue
        hours, counts = np.unique(batch.event_time_ns // HOUR_NS, return_counts=True)
        for hour, count in zip(hours.tolist(), counts.tolist(), strict=True):
            truth.requests[batch.model, batch.version, hour] += count
        yield record.partition, record.offset, batch


def as_they_came(messages: Iterable[Any]) -> list[Any]:
    """Sort records by time, and by offset within a partition.

    A partition of many lanes has more messages per hour than others. Sorted by offset alone it
    would lag, in a long run by more than hours are kept.
    """
    latest: dict[int, int] = {}
    places = []
    for record in sorted(messages, key=lambda r: r.offset):
        at = max(record.timestamp, latest.get(record.partition, 0))
        latest[record.partition] = at
        places.append((at, record.partition, record.offset, record))
    return [record for *_, record in sorted(places, key=lambda place: place[:3])]


def hour_sums(parts: Iterable[HourPart]) -> dict[tuple[Hour, str], Tally]:
    """Add parts up as the rates do: only the first part of each key counts."""
    known: set[bytes] = set()
    sums: dict[tuple[Hour, str], Tally] = {}
    for part in parts:
        if part.key in known:
            continue
        known.add(part.key)
        key = (part.model, part.version, part.hour), part.baseline
        sums[key] = sums[key] + part.tally if key in sums else part.tally
    return sums
