"""Prometheus metrics of publishers: how many rows were sent, dropped, failed or are queued.

This module needs the extra ``metrics`` (prometheus_client). It is the only one of `producers` that
needs an extra, so nothing else here imports it, and it imports neither torch nor the service.
"""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from latentwatch import __version__

__all__ = ["Counters", "PublisherCollector", "Watched"]

ROWS = ("sent", "dropped", "failed", "sampled_out")
"""Counters of rows; each is also a value of the label ``outcome``."""

MESSAGES = {"sent": "messages_sent", "failed": "messages_failed"}
"""Values of the label ``outcome``, and the message counter behind each."""


class Counters(Protocol):
    """The fields of `latentwatch.producers.Counters` that the metrics show."""

    @property
    def sent(self) -> int:
        """Rows that the broker acknowledged."""

    @property
    def dropped(self) -> int:
        """Rows refused by a full buffer or a closed publisher, or unsent at its end."""

    @property
    def failed(self) -> int:
        """Rows with wrong arguments, or that the broker refused."""

    @property
    def sampled_out(self) -> int:
        """Rows left out by the sampling rate."""

    @property
    def queued(self) -> int:
        """Rows waiting, in the buffer or for the broker's answer."""

    @property
    def messages_sent(self) -> int:
        """Messages that the broker acknowledged."""

    @property
    def messages_failed(self) -> int:
        """Messages that the broker refused or did not acknowledge in time."""


class _Name(NamedTuple):
    """Labels of a series."""

    model: str
    version: str


class Watched(Protocol):
    """A publisher, asyncio or background."""

    @property
    def counters(self) -> Counters:
        """A consistent snapshot of all counters."""


class PublisherCollector(Collector):
    """A Prometheus collector that reads the counters of publishers at each scrape.

    Publishing itself gets no slower. The number of series depends on the model versions alone, not
    on what is published. Publishers of the same model version are added up, so a publisher that
    replaces another continues its counters. ``docs/operations.md`` describes each metric.

    Examples
    --------
    ::

        from prometheus_client import REGISTRY, start_http_server

        watched = PublisherCollector()
        watched.add(publisher, model="resnet", version="7")
        REGISTRY.register(watched)
        start_http_server(9465, addr="127.0.0.1")
    """

    def __init__(self) -> None:
        self._publishers: list[tuple[_Name, Watched]] = []

    def add(self, publisher: Watched, *, model: str, version: str) -> None:
        """Add a publisher; it stays for as long as the collector lives.

        Parameters
        ----------
        publisher : Watched
            A `BackgroundPublisher` or `ActivationPublisher`, started or not.
        model, version : str
            The model and version that the publisher was created with.
        """
        self._publishers.append((_Name(model, version), publisher))

    def describe(self) -> Iterator[Metric]:
        """The metric families without samples; Prometheus asks for them on registration."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """All metrics with their values; called from a thread of the web server."""
        rows, messages, queued, build = self._families()
        for name, counters in self._totals().items():
            for outcome in ROWS:
                rows.add_metric([*name, outcome], counters[outcome])
            for outcome, field in MESSAGES.items():
                messages.add_metric([*name, outcome], counters[field])
            queued.add_metric(name, counters["queued"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield from (rows, messages, queued, build)

    def _totals(self) -> dict[_Name, dict[str, int]]:
        totals: dict[_Name, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        # a copy: the service may add publishers in the meantime
        for name, publisher in list(self._publishers):
            counters = publisher.counters  # read once: a consistent snapshot
            for field in (*ROWS, *MESSAGES.values(), "queued"):
                totals[name][field] += getattr(counters, field)
        return totals

    @staticmethod
    def _families() -> tuple[
        CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily, GaugeMetricFamily
    ]:
        model = ("model", "version")
        return (
            CounterMetricFamily(
                "latentwatch_publisher_rows",
                "Rows published, by outcome.",
                labels=[*model, "outcome"],
            ),
            CounterMetricFamily(
                "latentwatch_publisher_messages",
                "Messages, by outcome.",
                labels=[*model, "outcome"],
            ),
            GaugeMetricFamily(
                "latentwatch_publisher_queued_rows",
                "Rows waiting, in the buffer or for the broker's answer.",
                labels=model,
            ),
            GaugeMetricFamily(
                "latentwatch_publisher_build_info",
                "1, labelled with the versions of latentwatch and Python.",
                labels=["software", "python"],
            ),
        )
