"""Metrics and health of a worker over HTTP: ``/metrics``, ``/livez`` and ``/readyz``.

Off by default; what needs prometheus-client is imported only where `metrics_port` is set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.core.observer import LaneReport, Observer
from latentwatch.stream.service.metrics.health import Health
from latentwatch.stream.service.metrics.server import Answer, serve, verdict_page
from latentwatch.stream.settings import Settings

__all__ = ["LaneReport", "Observer", "make_observer", "serve_metrics"]

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def make_observer(settings: Settings, health: Health) -> Observer:
    """The observer for the settings: `WorkerMetrics` if they ask for metrics.

    Raises
    ------
    SettingsError
        prometheus-client is missing.
    """
    if not settings.metrics_port:
        return Observer()
    try:
        from latentwatch.stream.service.metrics.worker import WorkerMetrics
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise SettingsError(
            "metrics_port needs the extra metrics: pip install 'latentwatch[metrics]', or set "
            "metrics_port to 0"
        ) from error
    return WorkerMetrics(health)


@contextmanager
def serve_metrics(settings: Settings, observer: Observer, health: Health) -> Iterator[None]:
    """Serve the three pages while the worker runs; nothing where `metrics_port` is 0."""
    if not settings.metrics_port:
        yield
        return
    pages = {
        "/metrics": lambda: Answer(200, TEXT_FORMAT, observer.exposition()),
        "/livez": verdict_page(lambda: health.alive(time.monotonic())),
        "/readyz": verdict_page(lambda: health.ready(time.monotonic())),
    }
    with serve(settings.metrics_host, settings.metrics_port, pages):
        yield
