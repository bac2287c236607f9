"""What the newest window of each lane says; worked out when Prometheus asks, not for each window.

Series of the lanes of this moment, no more: when a partition goes to another worker its series go
as well; otherwise Prometheus would show stale values for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from latentwatch.stream.core.lane import LaneKey
from latentwatch.stream.core.observer import LaneReport
from latentwatch.stream.service.metrics.names import MOST_NAMES

__all__ = ["LaneGauges"]

LANE = ("model", "version", "partition")


class LaneGauges(Collector):
    """Gauges of at most `most` lanes with a baseline.

    Parameters
    ----------
    clock_ns : callable
        Nanoseconds since 1970.
    most : int
        Lanes beyond it are left out: their scores cannot be added up.
    """

    def __init__(self, clock_ns: Callable[[], int], most: int = MOST_NAMES) -> None:
        self._clock_ns, self._most = clock_ns, most
        self._lanes: dict[LaneKey, LaneReport] = {}

    def put(self, report: LaneReport) -> None:
        """Take over how a lane stands."""
        if report.judged and (report.key in self._lanes or len(self._lanes) < self._most):
            self._lanes[report.key] = report

    def revoke(self, partition: int) -> None:
        """Forget the lanes of a partition."""
        self._lanes = {k: r for k, r in self._lanes.items() if k.partition != partition}

    def describe(self) -> Iterator[Metric]:
        """Names alone, so that registering asks no lane."""
        yield from self._families().values()

    def collect(self) -> Iterator[Metric]:
        """All gauges; called in a thread of the web server."""
        families = self._families()
        # a copy: the event loop may put lanes meanwhile
        for key, report in list(self._lanes.items()):
            lane = [key.model, key.version, str(key.partition)]
            families["firing"].add_metric(lane, float(report.firing))
            families["clients"].add_metric(lane, float(report.clients))
            if report.newest_ns:
                age = (self._clock_ns() - report.newest_ns) / 1e9
                families["age"].add_metric(lane, age)
            if report.newest is not None:
                families["score"].add_metric(lane, report.newest.score)
                families["threshold"].add_metric(lane, report.newest.threshold or 0.0)
                for layer, view in report.newest.views.items():
                    families["T"].add_metric([*lane, layer], view.T)
                    families["E"].add_metric([*lane, layer], view.E)
                    families["layer_score"].add_metric([*lane, layer], view.score)
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        def gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"latentwatch_{name}", text, labels=[*LANE, *more])

        return {
            "firing": gauge("alert_firing", "1 while the alert of the lane is firing, else 0."),
            "clients": gauge("suspected_clients", "Clients who seem to copy the model."),
            "age": gauge("event_time_age_seconds", "Age of the newest event time of the lane."),
            "score": gauge("score", "Score of the newest window: the highest that decides."),
            "threshold": gauge("threshold", "Score from which a window exceeds."),
            "T": gauge("T", "Squared MMD of the newest window, a layer.", "layer"),
            "E": gauge("E", "Mean energy of the newest window, a layer.", "layer"),
            "layer_score": gauge("layer_score", "Score of the newest window, a layer.", "layer"),
        }
