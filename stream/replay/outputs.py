"""What an offline replay publishes: in files, one CloudEvent per line, and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self

from rich.box import SIMPLE_HEAD
from rich.table import Table

from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.events import Record
from latentwatch.stream.core.outputs import Outputs
from latentwatch.stream.core.topic_names import Topics

__all__ = ["OutputFiles", "tables"]

ROLES = {
    "alerts": "alerts.jsonl",
    "detection_rates": "detection-rates.jsonl",
    "flagged_requests": "flagged-requests.jsonl",
}


class OutputFiles:
    """A file for each output topic.

    Parameters
    ----------
    folder : Path or None
        None writes nothing.
    topics : Topics
    force : bool
        Whether to replace files that are there.

    Raises
    ------
    RecordingError
        There are such files, and `force` is not set.
    """

    def __init__(self, folder: Path | None, topics: Topics, *, force: bool) -> None:
        self._paths = {}
        if folder is not None:
            self._paths = {getattr(topics, role): folder / name for role, name in ROLES.items()}
        there = [path for path in self._paths.values() if path.exists()]
        if there and not force:
            raise RecordingError(f"{there[0]} is there already; --force replaces it")
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for topic, path in self._paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[topic] = self._stack.enter_context(path.open("wb"))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def write(self, record: Record) -> None:
        """Append a record to the file of its topic, if it has one."""
        if record.topic in self._files:
            self._files[record.topic].write((record.value or b"") + b"\n")


def tables(outputs: Outputs) -> Iterator[Table]:
    """Hours of each model, and the alerts."""
    yield _hours(outputs)
    if outputs.alerts:
        yield _alerts(outputs)


def _hours(outputs: Outputs) -> Table:
    table = Table(title="hours of event time, UTC (the deciding layer of each model)")
    table.add_column("model")
    table.add_column("hour")
    for name in ("requests", "flagged", "rate", "contamination", "p", "alarms"):
        table.add_column(name, justify="right")
    seen: set[tuple[str, str, str]] = set()
    for row in sorted(outputs.rates.values(), key=lambda r: (r["model"], r["version"], r["hour"])):
        hour = (row["model"], row["version"], row["hour"])
        # the first row of an hour is that of the view that flags
        if hour not in seen:
            seen.add(hour)
            table.add_row(f"{row['model']}/{row['version']}", row["hour"][:16], *_rate(row))
    return table


def _rate(row: dict[str, Any]) -> list[str]:
    if row["status"] != "ok":
        return [f"{row['requests']:,}", row["status"], "", "", "", ""]
    share, bound = row["contamination"], row["contamination_lower_bound"]
    return [
        f"{row['requests']:,}",
        f"{row['flagged']:,}",
        f"{row['detection_rate']:.1%}",
        "" if share is None else f"{share:.1%} (≥{bound:.0%})",
        "" if row["p_value"] is None else f"{row['p_value']:.4f}",
        f"{row['alarms']}/{row['windows']}",
    ]


def _alerts(outputs: Outputs) -> Table:
    """One row an alert; `latentwatch inspect` takes the beginning of its id."""
    table = Table(title="alerts", box=SIMPLE_HEAD)
    for name in ("id", "lane", "fired at", "severity", "pattern", "score"):
        table.add_column(name, no_wrap=name == "id")
    for alert in sorted(outputs.latest_alerts.values(), key=lambda a: a["fired_at"]):
        table.add_row(
            alert["id"][:12],
            f"{alert['model']}/{alert['version']}/{alert['partition']}",
            alert["fired_at"][:16],
            alert["severity"],
            alert["pattern"],
            f"{alert['score']:.1f} of {alert['threshold']:.1f}",
        )
    return table
