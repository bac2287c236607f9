"""The metrics of one worker, in a registry of its own."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from latentwatch import __version__
from latentwatch.stream.core.lane import AlertChange
from latentwatch.stream.core.observer import LaneReport, Observer
from latentwatch.stream.core.processor import REFUSALS
from latentwatch.stream.core.rates import HourReport
from latentwatch.stream.service.metrics.health import Health
from latentwatch.stream.service.metrics.lanes import LaneGauges
from latentwatch.stream.service.metrics.names import Names

__all__ = ["WorkerMetrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms: from one message to a batch that is nearly stuck."""

MODEL = ("model", "version")


class WorkerMetrics(Observer):
    """Counts what an engine reports; see ``docs/operations.md`` for each metric.

    Counters are written by the event loop and the detector's thread, and read by the web server's.

    Parameters
    ----------
    health : Health
        Of the same worker.
    clock : callable
        Seconds of the clock that `health` uses.
    clock_ns : callable
        Nanoseconds since 1970.
    """

    def __init__(
        self,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.registry = CollectorRegistry()
        self._health, self._clock = health, clock
        self._names = Names()
        self._lanes = LaneGauges(clock_ns)
        self.registry.register(self._lanes)
        self._make_counters()
        self._make_timings()
        build = self._gauge("build_info", "1, with what runs here.", "software", "python")
        build.labels(__version__, platform.python_version()).set(1)
        self._lag = self._gauge("lag_messages", "Messages that wait, a partition.", "partition")
        self._lagging: set[int] = set()
        waited = self._gauge("waiting_seconds", "How long messages wait, and none is processed.")
        waited.set_function(lambda: health.waited(clock()))
        self._gauge("ready", "1 while /readyz says yes, else 0.").set_function(
            lambda: float(health.ready(clock()).ok)
        )

    def _make_counters(self) -> None:
        self._records = self._counter("records", "Messages taken from the topic, sound or not.")
        self._rows = self._counter("rows", "Requests taken.", *MODEL)
        self._unjudged = self._counter("unjudged_rows", "Requests that no baseline judges.")
        self._late = self._counter("late_rows", "Requests that came after their hour had closed.")
        self._decisions = self._counter("decisions", "Windows judged.", *MODEL)
        self._exceedances = self._counter(
            "exceedances", "Windows at or above the threshold.", *MODEL
        )
        self._alerts = self._counter(
            "alerts", "Records of the alerts topic.", *MODEL, "status", "severity"
        )
        self._flagged = self._counter(
            "flagged_requests", "Records of the flagged-requests topic.", *MODEL, "status"
        )
        self._letters = self._counter("dead_letters", "Messages refused.", "reason")
        # from the start: Prometheus sees no increase in a series that begins with 1
        for reason in sorted(REFUSALS):
            self._letters.labels(str(reason))

    def _make_timings(self) -> None:
        self._decide = self._histogram("decision_seconds", "Mathematics of one batch.")
        self._flush = self._histogram("flush_seconds", "Writing outputs and states of one batch.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"latentwatch_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"latentwatch_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"latentwatch_{name}", text, registry=self.registry, buckets=SECONDS)

    def records(self, count: int) -> None:
        """Count messages."""
        self._records.inc(count)

    def refused(self, reason: str) -> None:
        """Count a dead letter."""
        self._letters.labels(reason).inc()

    def lane(self, report: LaneReport) -> None:
        """Count what a lane did, and keep how it stands."""
        # a batch of large messages may take long: each part of it is progress
        self._health.progress(self._clock())
        self._lanes.put(report)
        name = self._names.of(report.key.model, report.key.version, judged=report.judged)
        self._rows.labels(*name).inc(report.rows)
        self._decisions.labels(*name).inc(report.decisions)
        self._exceedances.labels(*name).inc(report.exceedances)
        if not report.judged:
            self._unjudged.inc(report.rows)

    def late(self, rows: int) -> None:
        """Count late rows."""
        self._late.inc(rows)

    def alert(self, change: AlertChange) -> None:
        """Count a record of the alerts topic."""
        name = self._names.of(change.key.model, change.key.version, judged=True)
        self._alerts.labels(*name, change.alert.status, change.alert.severity).inc()

    def hour(self, report: HourReport) -> None:
        """Count the requests that an hour newly flags, or no longer does."""
        for request in report.flagged:
            name = self._names.of(report.model, report.version, judged=True)
            self._flagged.labels(*name, request.status).inc()

    def revoked(self, partition: int) -> None:
        """Drop the series of a partition's lanes."""
        self._lanes.revoke(partition)

    def lags(self, lags: Mapping[int, int]) -> None:
        """Replace the lags by those of the partitions that are assigned now."""
        for partition in self._lagging - set(lags):
            self._lag.remove(str(partition))
        for partition, lag in lags.items():
            self._lag.labels(str(partition)).set(lag)
        self._lagging = set(lags)

    def deciding(self) -> AbstractContextManager[object]:
        """Time the mathematics of one batch."""
        return self._decide.time()

    def flushing(self) -> AbstractContextManager[object]:
        """Time the writing of one batch."""
        return self._flush.time()

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)
