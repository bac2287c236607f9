"""Parses the metrics of a worker, in Prometheus' text format."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from latentwatch.stream.dashboard.store import Sample

__all__ = ["WorkerReport", "read_exposition"]

Lane = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The figures in one response.

    Parameters
    ----------
    version : str
        Version of the worker's software.
    lags : dict of partition to int
        Messages not yet processed.
    waiting_seconds : float
        How long messages have been waiting without any being processed.
    rows, dead_letters : int
        Requests processed and messages refused since the worker started.
    samples : list of Sample
        The latest windows.
    """

    version: str = ""
    lags: dict[int, int] = field(default_factory=dict)
    waiting_seconds: float = 0.0
    rows: int = 0
    dead_letters: int = 0
    samples: list[Sample] = field(default_factory=list)


def read_exposition(text: str, now: float) -> WorkerReport:
    """Parse the figures of a worker.

    Parameters
    ----------
    text : str
    now : float
        Time of the request in seconds since 1970; metrics give event times as ages.

    Raises
    ------
    ValueError
        If the text is not in this format.
    """
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("latentwatch_")
            labels = tuple(
                sample.labels[key]
                for key in ("model", "version", "partition", "layer", "software", "reason")
                if key in sample.labels
            )
            values.setdefault(name, {})[labels] = sample.value
    build = next(iter(values.get("build_info", {"": 0})), ("",))
    return WorkerReport(
        version=build[0] if build else "",
        lags={int(p): int(n) for (p,), n in values.get("lag_messages", {}).items()},
        waiting_seconds=sum(values.get("waiting_seconds", {}).values()),
        rows=int(sum(values.get("rows_total", {}).values())),
        dead_letters=int(sum(values.get("dead_letters_total", {}).values())),
        samples=_samples(values, now),
    )


def _samples(values: dict[str, dict[tuple[str, ...], float]], now: float) -> list[Sample]:
    ages, thresholds = values.get("event_time_age_seconds", {}), values.get("threshold", {})
    T, E = values.get("T", {}), values.get("E", {})
    scores = {**values.get("score", {}), **values.get("layer_score", {})}
    samples = []
    for labels, score in scores.items():
        model, version, partition = labels[:3]
        at = round(now - ages.get(labels[:3], 0.0), 3)
        layer = labels[3] if len(labels) > 3 else ""
        place = (at, model, version, int(partition), layer)
        samples.append(Sample(*place, T.get(labels), E.get(labels), score, thresholds.get(labels)))
    return samples
