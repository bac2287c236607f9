"""The dashboard's own metrics: a fixed number of series, whatever the topics contain."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from latentwatch import __version__
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.records import ROLES

__all__ = ["exposition"]

PREFIX = "latentwatch_dashboard_"


def exposition(components: Components) -> bytes:
    """All metrics, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_DashboardCollector(components))
    return generate_latest(registry)


class _DashboardCollector(Collector):
    def __init__(self, components: Components) -> None:
        self._components = components

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        progress = self._components.follower.progress
        for name, text, counts in (
            ("records", "Records read.", progress.taken),
            (
                "passed_over",
                "Records skipped because they do not belong in their topic.",
                progress.passed_over,
            ),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=["topic"])
            for role in ROLES:
                family.add_metric([role.replace("_", "-")], counts[role])
            yield family
        lag = self._components.lag.messages
        for name, text, value in (
            ("ready", "1 if /readyz returns 200, otherwise 0.", float(progress.ready[0])),
            ("behind_records", "Records still to be read.", progress.behind),
            ("listeners", "Open pages.", self._components.changes.listeners),
            ("workers_lag_messages", "Messages that the workers have not committed.", lag),
        ):
            if value is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value=value)
        build = GaugeMetricFamily(
            PREFIX + "build_info",
            "1, labelled with the versions in use.",
            labels=["software", "python"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
