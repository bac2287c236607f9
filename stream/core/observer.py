"""Hooks that a worker calls as it works; the default does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from latentwatch.detector import Decision
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey
from latentwatch.stream.core.rates import HourReport

__all__ = ["LaneReport", "Observer"]


@dataclass(frozen=True, slots=True)
class LaneReport:
    """How a lane stands, and what it did since its last report.

    Parameters
    ----------
    key : LaneKey
    judged : bool
        Whether a baseline judges its rows.
    rows, decisions, exceedances : int
        New since the last report: requests, windows judged, and those at or above the threshold.
    newest : Decision or None
        The newest decision.
    newest_ns : int
        Largest event time, nanoseconds since 1970; 0 before the first row.
    firing : bool
        Whether its alert is firing, the one of its windows.
    clients : int
        Clients with a firing alert of their own.
    """

    key: LaneKey
    judged: bool
    rows: int
    decisions: int
    exceedances: int
    newest: Decision | None
    newest_ns: int
    firing: bool
    clients: int

    @classmethod
    def of(
        cls, lane: Lane, *, rows: int = 0, decisions: int = 0, exceedances: int = 0
    ) -> LaneReport:
        """How a lane stands now; the numbers are those from before, to be subtracted."""
        return cls(
            lane.key,
            lane.has_baseline,
            rows,
            lane.decisions - decisions,
            lane.exceedances - exceedances,
            lane.newest,
            lane.hours.newest_ns,
            lane.alerts.alert is not None,
            lane.extraction.firing if lane.extraction else 0,
        )


class Observer:
    """Called for everything that happens, and ignores it; `WorkerMetrics` counts."""

    def records(self, count: int) -> None:
        """Messages were taken in, valid or not."""

    def refused(self, reason: str) -> None:
        """A message goes to the dead-letter topic."""

    def lane(self, report: LaneReport) -> None:
        """A lane took rows, or was taken over."""

    def late(self, rows: int) -> None:
        """Rows came after their hour had closed."""

    def alert(self, change: AlertChange) -> None:
        """An alert fired, was confirmed, or resolved."""

    def hour(self, report: HourReport) -> None:
        """The rates of an hour are published."""

    def revoked(self, partition: int) -> None:
        """The lanes of a partition belong to another worker now."""

    def lags(self, lags: Mapping[int, int]) -> None:
        """Lag of each assigned partition, in messages."""

    def deciding(self) -> AbstractContextManager[object]:
        """Around the mathematics of one batch."""
        return nullcontext()

    def flushing(self) -> AbstractContextManager[object]:
        """Around the writing of outputs and states of one batch."""
        return nullcontext()

    def exposition(self) -> bytes:
        """Everything counted so far, in Prometheus' text format."""
        return b""
