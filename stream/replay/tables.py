"""What an offline replay found, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from latentwatch.stream.replay.latest import Standing

__all__ = ["tables"]


def tables(standing: Standing) -> Iterator[Table]:
    """Hours of each model, and the alerts."""
    yield _hours(standing)
    if standing.alerts:
        yield _alerts(standing)


def _hours(standing: Standing) -> Table:
    table = Table(title="hours of event time, UTC (the deciding layer of each model)")
    table.add_column("model")
    table.add_column("hour")
    for name in ("requests", "flagged", "rate", "contamination", "p", "alarms"):
        table.add_column(name, justify="right")
    seen: set[tuple[str, str, str]] = set()
    for row in sorted(standing.rates.values(), key=lambda r: (r["model"], r["version"], r["hour"])):
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


def _alerts(standing: Standing) -> Table:
    """One row an alert; `latentwatch inspect` takes the beginning of its id."""
    table = Table(title="alerts", box=SIMPLE_HEAD)
    for name in ("id", "lane", "fired at", "severity", "pattern", "score"):
        table.add_column(name, no_wrap=name == "id")
    for alert in sorted(standing.alerts.values(), key=lambda a: a["fired_at"]):
        table.add_row(
            alert["id"][:12],
            f"{alert['model']}/{alert['version']}/{alert['partition']}",
            alert["fired_at"][:16],
            alert["severity"],
            alert["pattern"],
            f"{alert['score']:.1f} of {alert['threshold']:.1f}",
        )
    return table
