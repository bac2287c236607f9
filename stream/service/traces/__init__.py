"""Traces: from an alert to the requests that it names, and where the time went on the way.

Off by default; OpenTelemetry is imported only where the setting `traces` is true.
"""

from __future__ import annotations

from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.service.traces.untraced import BatchTrace, Traces
from latentwatch.stream.settings import Settings

__all__ = ["BatchTrace", "Traces", "make_traces"]


def make_traces(settings: Settings) -> Traces:
    """The traces for the settings: `WorkerTraces` if they ask for spans.

    Raises
    ------
    SettingsError
        OpenTelemetry is missing.
    """
    if not settings.traces:
        return Traces()
    try:
        from latentwatch.stream.service.traces.worker import WorkerTraces
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "opentelemetry":
            raise
        raise SettingsError(
            "traces needs the extra traces: pip install 'latentwatch[traces]', or set traces to "
            "false"
        ) from error
    return WorkerTraces(settings)
