"""Hours of event time: what one lane saw of each, and the parts in which it emits them.

A part is additive: an hour is the sum of its parts over all partitions, in any order. A lane
closes an hour when its watermark (the largest event time it saw, less the grace) has passed the
hour's end; rows that come later make a further part. So nothing emitted is ever retracted,
and a closed hour needs no memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from latentwatch.detector import Baseline, Block, Requests, Sketch
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.state_codec import pack, reading, unpack
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.core.topic_names import Topics

__all__ = ["HourAggregator", "HourPart", "Tally"]


class _HourKey(NamedTuple):
    hour: int
    baseline: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What is counted of an hour: a sketch, windows tested and alarmed, rows that came late."""

    sketch: Sketch
    windows: int = 0
    alarms: int = 0
    late: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.sketch + other.sketch,
            self.windows + other.windows,
            self.alarms + other.alarms,
            self.late + other.late,
        )


@dataclass(frozen=True, slots=True)
class HourPart:
    """What one lane saw of one hour since its last part.

    Parameters
    ----------
    model, version : str
    partition : int
        Input partition of the lane.
    part : int
        Running number of the lane's parts: a re-delivered part has the same number.
    hour : int
        Hours since 1970, UTC.
    baseline : str
        SHA-256 of the baseline that judged the rows; empty where there was none.
    tally : Tally
    """

    model: str
    version: str
    partition: int
    part: int
    hour: int
    baseline: str
    tally: Tally

    @property
    def key(self) -> bytes:
        """Key in the hour-sketches topic; one record a part."""
        return f"{self.model}/{self.version}/{self.hour}/{self.partition}/{self.part}".encode()

    def to_record(self, topics: Topics) -> Record:
        """Internal record; all parts of a model version go to one partition."""
        route = f"{self.model}/{self.version}".encode()
        return Record(topics.hour_sketches, self.key, self.to_bytes(), [], route)

    def to_bytes(self) -> bytes:
        """Serialise for the hour-sketches topic."""
        header = {
            "model": self.model,
            "version": self.version,
            "partition": self.partition,
            "part": self.part,
            "hour": self.hour,
            "baseline": self.baseline,
            "windows": self.tally.windows,
            "alarms": self.tally.alarms,
            "late": self.tally.late,
        }
        return pack(header, [self.tally.sketch.to_bytes()])

    @classmethod
    def from_bytes(cls, data: bytes) -> HourPart:
        """Inverse of `to_bytes`; raises `StateError` on anything else."""
        with reading(data):
            header, (sketch,) = unpack(data)
            counts = {name: header.pop(name) for name in ("windows", "alarms", "late")}
            return cls(**header, tally=Tally(Sketch.from_bytes(sketch), **counts))


class HourAggregator:
    """The open hours of one lane.

    Parameters
    ----------
    allowed_lateness_ns : int
        How far the watermark stays behind the largest event time.
    """

    def __init__(self, allowed_lateness_ns: int) -> None:
        self.allowed_lateness_ns = allowed_lateness_ns
        self.newest_ns = 0
        self._open: dict[_HourKey, Tally] = {}

    @property
    def watermark_ns(self) -> int:
        """Event time up to which the lane believes to have seen everything."""
        return self.newest_ns - self.allowed_lateness_ns

    @property
    def is_empty(self) -> bool:
        """Whether no hour is open."""
        return not self._open

    def count_block(self, block: Block, skip: int, baseline: Baseline) -> None:
        """Count the rows of a block, leaving out the first `skip` that were counted before."""
        hours = block.requests.event_time_ns[skip:] // HOUR_NS
        first = int(hours[0]) if len(hours) else 0
        if not skip and (hours == first).all():
            self._count(first, block.sketch, baseline.sha256)
            return
        for hour in np.unique(hours).tolist():
            rows = skip + np.flatnonzero(hours == hour)
            sketch = baseline.sketch(block.features.take(rows), block.requests.take(rows))
            self._count(hour, sketch, baseline.sha256)

    def count_unjudged(self, requests: Requests) -> None:
        """Count rows that no baseline can judge."""
        hours = requests.event_time_ns // HOUR_NS
        for hour in np.unique(hours).tolist():
            sketch = Sketch.counting(requests.take(np.flatnonzero(hours == hour)))
            self._count(hour, sketch, "")

    def count_window(self, event_time_ns: int, alarm: bool, baseline: Baseline) -> None:
        """Count a decision in the hour of its newest request."""
        key = _HourKey(event_time_ns // HOUR_NS, baseline.sha256)
        known = self._open.get(key) or Tally(baseline.empty_sketch())
        self._open[key] = replace(
            known, windows=known.windows + 1, alarms=known.alarms + int(alarm)
        )

    def advance(self, event_time_ns: int) -> list[tuple[int, str, Tally]]:
        """Move the watermark; return the hours that it closes: (hour, baseline, tally)."""
        self.newest_ns = max(self.newest_ns, event_time_ns)
        closed = [k for k in self._open if (k.hour + 1) * HOUR_NS <= self.watermark_ns]
        return self._take(closed)

    def close_all(self) -> list[tuple[int, str, Tally]]:
        """Close every open hour, whatever the watermark."""
        return self._take(list(self._open))

    def _take(self, keys: list[_HourKey]) -> list[tuple[int, str, Tally]]:
        return [(*key, self._open.pop(key)) for key in sorted(keys)]

    def _count(self, hour: int, sketch: Sketch, baseline: str) -> None:
        late = sketch.rows if (hour + 1) * HOUR_NS <= self.watermark_ns else 0
        key = _HourKey(hour, baseline)
        tally, known = Tally(sketch, late=late), self._open.get(key)
        self._open[key] = tally if known is None else known + tally

    def to_bytes(self) -> bytes:
        """Serialise for the lane's state."""
        counted = sorted(self._open.items(), key=lambda item: item[0])
        hours = [
            [key.hour, key.baseline, tally.windows, tally.alarms, tally.late]
            for key, tally in counted
        ]
        sketches = [tally.sketch.to_bytes() for _, tally in counted]
        return pack({"newest_ns": self.newest_ns, "hours": hours}, sketches)

    def load(self, data: bytes) -> None:
        """Take over what `to_bytes` gave."""
        header, sketches = unpack(data)
        self.newest_ns = header["newest_ns"]
        self._open = {
            _HourKey(hour, baseline): Tally(Sketch.from_bytes(sketch), windows, alarms, late)
            for (hour, baseline, windows, alarms, late), sketch in zip(
                header["hours"], sketches, strict=True
            )
        }
