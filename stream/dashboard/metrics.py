"""The dashboard's own metrics: a fixed number of series, whatever is in the topics."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from latentwatch import __version__
from latentwatch.stream.dashboard.components import Parts
from latentwatch.stream.dashboard.records import ROLES

__all__ = ["exposition"]

PREFIX = "latentwatch_dashboard_"


def exposition(parts: Parts) -> bytes:
    """Everything, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Standing(parts))
    return generate_latest(registry)


class _Standing(Collector):
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """All of it, as it is now."""
        standing = self._parts.follower.standing
        for name, text, counts in (
            ("records", "Records read.", standing.taken),
            ("passed_over", "Records that are not what their topic is for.", standing.passed_over),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=["topic"])
            for role in ROLES:
                family.add_metric([role.replace("_", "-")], counts[role])
            yield family
        lag = self._parts.lag.messages
        for name, text, value in (
            ("ready", "1 while /readyz says yes, else 0.", float(standing.ready[0])),
            ("behind_records", "Records that wait to be read.", standing.behind),
            ("listeners", "Pages that are open.", self._parts.changes.listeners),
            ("workers_lag_messages", "Messages that the workers have not committed.", lag),
        ):
            if value is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value=value)
        build = GaugeMetricFamily(
            PREFIX + "build_info", "1, with what runs here.", labels=["software", "python"]
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
