"""The requests of a lane around an alert: before, in and after its window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector import ActivationsError, Baseline, Requests
from latentwatch.stream.core.errors import InvestigationError
from latentwatch.stream.core.lane import checked_rows, requests_of
from latentwatch.stream.investigate.alert import AnyAlert, WindowAlert
from latentwatch.stream.recording import Flush, RecordedMessage, Recording

__all__ = [
    "LaneRows",
    "MessageSource",
    "RecordedMessages",
    "bounds_with",
    "read_back",
    "rows_around",
]

AFTER_ROWS = 512
"""Requests after the window, to show whether the attack continued."""

FIRST_STEP = 32
"""Messages that are read first on either side; each further step is four times as many."""

FARTHEST = 1 << 16
"""Most messages to read on either side, in case the lane is rare on its partition."""


class MessageSource(Protocol):
    """Source of the messages of one lane: Kafka or a recording."""

    @property
    def name(self) -> str:
        """Description of the source for messages."""

    @property
    def gone(self) -> str:
        """Why offsets may be missing, and what to do."""

    def bounds(self) -> tuple[int, int]:
        """The first available offset, and the one after the last."""

    def read(self, first: int, end: int) -> list[RecordedMessage]:
        """Messages with offsets from `first` up to, but not including, `end`."""


class RecordedMessages:
    """Recorded messages of one model version on one partition.

    Parameters
    ----------
    url : str
        Path or fsspec URL of the recording.
    model, version : str
    partition : int

    Raises
    ------
    RecordingError
        The recording is empty, or has nothing of the model version.
    """

    def __init__(self, url: str, model: str, version: str, partition: int) -> None:
        self.name = f"{url}, partition {partition}"
        self.gone = (
            "the recording does not reach that far; use one from the time when the alert fired"
        )
        self._recording = Recording(url).select(model=model, version=version)
        self._partition = partition

    def bounds(self) -> tuple[int, int]:
        """The first available offset and the one after the last; zeros if there are none."""
        flushes = [place.flush for place in self._recording.places]
        own = [flush for flush in flushes if flush.partition == self._partition]
        if not own:
            return 0, 0
        return min(flush.first for flush in own), max(flush.next for flush in own)

    def read(self, first: int, end: int) -> list[RecordedMessage]:
        """Messages with offsets from `first` up to, but not including, `end`."""
        wanted = Flush(self._partition, first, end)
        if not any(wanted.meets(place.flush) for place in self._recording.places):
            return []
        return list(self._recording.select(flush=wanted).messages())


@dataclass(frozen=True, slots=True)
class LaneRows:
    """Requests in the order in which the worker read them.

    Parameters
    ----------
    rows : float32 [n, all columns]
        Validated activations of all layers side by side, as `Baseline.rows` returns them.
    predicted : int64 [n]
    requests : Requests
    sources : tuple of str [n]
        The service that sent each request (``ce_source``).
    clients : tuple of str or None [n]
        The client of each request, if the service names it.
    """

    rows: NDArray[np.float32]
    predicted: NDArray[np.int64]
    requests: Requests
    sources: tuple[str, ...]
    clients: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Offset int64 [n] of the message that contains each request."""
        return self.requests.offsets

    def take(self, rows: slice) -> LaneRows:
        """Some of the rows."""
        return LaneRows(
            self.rows[rows],
            self.predicted[rows],
            self.requests.take(rows),
            self.sources[rows],
            self.clients[rows],
        )

    @classmethod
    def of(cls, messages: Iterable[RecordedMessage], baseline: Baseline) -> LaneRows:
        """Join messages, without those that the worker must have refused."""
        parts = [part for m in messages if (part := cls._of(m, baseline)) is not None]
        if not parts:
            width = sum(baseline.layout.widths)
            empty = np.empty((0, width), dtype=np.float32)
            return cls(empty, np.empty(0, dtype=np.int64), Requests.anonymous(0), (), ())
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            Requests.join(part.requests for part in parts),
            tuple(source for part in parts for source in part.sources),
            tuple(client for part in parts for client in part.clients),
        )

    @classmethod
    def _of(cls, message: RecordedMessage, baseline: Baseline) -> LaneRows | None:
        batch = message.batch
        try:
            rows, predicted = checked_rows(batch, baseline)
        except ActivationsError:
            return None
        requests = requests_of(batch, message.offset, message.partition)
        nobody = (None,) * len(batch)
        sources = (batch.source,) * len(batch)
        return cls(rows, predicted, requests, sources, tuple(batch.clients or nobody))


def rows_around(source: MessageSource, alert: WindowAlert, baseline: Baseline) -> LaneRows:
    """The requests of the window's messages, and enough on both sides to evaluate them again.

    Before the window: two longest windows bring the monitor into the same state; one is shown.

    Raises
    ------
    InvestigationError
        Messages of the window are gone.
    """
    begin, end = bounds_with(source, alert)
    after = alert.last_offset + 1
    wanted = 3 * baseline.longest_window
    earlier = read_back(source, alert.first_offset, begin, lambda found: _count(found) >= wanted)
    later = source.read(alert.first_offset, after)
    step = FIRST_STEP
    until = min(end, after + FARTHEST)
    while after < until and _count(m for m in later if m.offset > alert.last_offset) < AFTER_ROWS:
        upper = min(end, after + step)
        later += source.read(after, upper)
        after, step = upper, 4 * step
    return _trim(LaneRows.of([*earlier, *later], baseline), alert, wanted)


def bounds_with(source: MessageSource, alert: AnyAlert) -> tuple[int, int]:
    """The bounds of a source; `InvestigationError` if it lacks messages of the alert."""
    begin, end = source.bounds()
    first, after = alert.first_offset, alert.last_offset + 1
    if first < begin or after > end:
        there = f"only offsets {begin} to {end - 1}" if end > begin else "nothing"
        raise InvestigationError(
            f"alert {alert.id} needs the messages at offsets {first} to {after - 1}, and "
            f"{source.name} has {there}: {source.gone}"
        )
    return begin, end


def read_back(
    source: MessageSource,
    before: int,
    begin: int,
    enough: Callable[[list[RecordedMessage]], bool],
) -> list[RecordedMessage]:
    """Messages before an offset, read backwards in growing steps until there are enough."""
    found: list[RecordedMessage] = []
    first, step = before, FIRST_STEP
    while first > max(begin, before - FARTHEST) and not enough(found):
        lower = max(begin, first - step)
        found = source.read(lower, first) + found
        first, step = lower, 4 * step
    return found


def _count(messages: Iterable[RecordedMessage]) -> int:
    return sum(len(message.batch) for message in messages)


def _trim(rows: LaneRows, alert: WindowAlert, wanted: int) -> LaneRows:
    """Drop rows beyond those needed: they are cheap to read but slow to evaluate."""
    first = int(np.searchsorted(rows.offsets, alert.first_offset))
    after = int(np.searchsorted(rows.offsets, alert.last_offset, side="right"))
    return rows.take(slice(max(0, first - wanted), after + AFTER_ROWS))
