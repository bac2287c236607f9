"""The metrics of publishers, for services that publish activations.

It is here and not in `producers`, which imports no extra. It needs the extra ``metrics``, and
imports neither torch nor the worker's framework.
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
"""Counters of rows, and values of the label outcome."""

MESSAGES = {"sent": "messages_sent", "failed": "messages_failed"}
"""Values of the label outcome, and the counters of messages that they show."""


class Counters(Protocol):
    """What became of everything published, as `producers.Counters` says it."""

    @property
    def sent(self) -> int:
        """Rows that the broker acknowledged."""

    @property
    def dropped(self) -> int:
        """Rows refused by a full buffer or a closed publisher, or left in the buffer at its end."""

    @property
    def failed(self) -> int:
        """Rows with wrong arguments, or that the broker refused."""

    @property
    def sampled_out(self) -> int:
        """Rows left out by the sampling rate."""

    @property
    def queued(self) -> int:
        """Rows that wait."""

    @property
    def messages_sent(self) -> int:
        """Messages that the broker acknowledged."""

    @property
    def messages_failed(self) -> int:
        """Messages given up."""


class _Name(NamedTuple):
    """Labels of a series."""

    model: str
    version: str


class Watched(Protocol):
    """A publisher, of either form."""

    @property
    def counters(self) -> Counters:
        """All counters of one moment."""


class PublisherCollector(Collector):
    """Reads the counters of publishers when Prometheus asks; publishing itself does no more.

    There are as many series as publishers, whatever these are given to publish. Publishers of the
    same model version are added up: one that replaces another goes on where that one ended.
    See ``docs/operations.md`` for each metric.

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
        """Watch one more publisher, for as long as the collector lives.

        Parameters
        ----------
        publisher : Watched
            A `producers.BackgroundPublisher` or `producers.ActivationPublisher`, started or not.
        model, version : str
            What the publisher was given.
        """
        self._publishers.append((_Name(model, version), publisher))

    def describe(self) -> Iterator[Metric]:
        """Names alone."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """All metrics; called in a thread of the web server."""
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
        # a copy: the service may add publishers meanwhile
        for name, publisher in list(self._publishers):
            counters = publisher.counters  # once, so that all figures are of one moment
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
                "Rows that were published, by what became of them.",
                labels=[*model, "outcome"],
            ),
            CounterMetricFamily(
                "latentwatch_publisher_messages",
                "Messages, by what became of them.",
                labels=[*model, "outcome"],
            ),
            GaugeMetricFamily(
                "latentwatch_publisher_queued_rows",
                "Rows that wait, in the buffer or for the broker's answer.",
                labels=model,
            ),
            GaugeMetricFamily(
                "latentwatch_publisher_build_info",
                "1, with what runs here.",
                labels=["software", "python"],
            ),
        )
