"""Prints and writes the results of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from latentwatch.lab.demo.verdict import Verdict
from latentwatch.stream.core.outputs import Outputs

__all__ = ["print_report", "write_outputs"]


def write_outputs(outputs: Outputs, folder: Path) -> None:
    """Write alerts.jsonl, detection-rates.jsonl and flagged-requests.jsonl."""
    _write(folder / "alerts.jsonl", outputs.alerts)
    rates = [row for _, row in sorted(outputs.rates.items(), key=lambda item: item[0][:1:-1])]
    _write(folder / "detection-rates.jsonl", rates)
    flagged = sorted(outputs.flagged.values(), key=lambda row: (row["hour"], row["p_value"]))
    _write(folder / "flagged-requests.jsonl", flagged)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def print_report(outputs: Outputs, verdict: Verdict, layer: str, console: Console) -> None:
    """Print hours, alerts, and the comparison with the truth."""
    console.print(_hours(outputs, verdict, layer))
    console.print(_alerts(outputs))
    for line in _sentences(verdict):
        console.print(line)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False, collapse_padding=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _hours(outputs: Outputs, verdict: Verdict, layer: str) -> Table:
    table = _table(
        f"hours of event time, UTC (statistics of {layer})",
        "hour", "requests", "attacks", "flagged", "rate", "contamination", "T", "E", "p", "alarms",
    )  # fmt: skip
    for row in outputs.hours(layer):
        table.add_row(
            row["hour"][11:16],
            f"{row['requests']:,}",
            f"{verdict.adversarial_by_hour.get(row['hour'], 0):,}",
            f"{row['flagged']:,}",
            f"{row['detection_rate']:.1%}",
            f"{row['contamination']:.1%} (≥{row['contamination_lower_bound']:.0%})",
            f"{row['T']:.2f}",
            f"{row['E']:.0f}",
            f"{row['p_value']:.4f}",
            f"{row['alarms']}/{row['windows']}",
        )
    table.caption = "attacks: what was sent; alarms: windows above the threshold, of all"
    return table


def _alerts(outputs: Outputs) -> Table:
    table = _table("alerts", "id", "fired at", "state", "severity", "pattern", "score", "threshold")
    for alert in outputs.latest_alerts.values():
        suspects = [s["request_id"] for s in alert["most_suspicious"]]
        table.add_row(
            alert["id"][:8],
            alert["fired_at"][11:19],
            alert["status"],
            alert["severity"],
            alert["pattern"],
            f"{alert['score']:.1f}",
            f"{alert['threshold']:.1f}",
        )
        table.caption = f"most suspicious requests of {alert['id'][:8]}: " + ", ".join(suspects[:5])
    return table


def _sentences(verdict: Verdict) -> list[str]:
    lines = []
    if verdict.benign_hours_with_alert:
        lines.append(f"[red]false alarm in {', '.join(verdict.benign_hours_with_alert)}[/red]")
    else:
        lines.append("no alert before the attack")
    if verdict.delay is not None:
        lines.append(
            f"the alert came {verdict.delay} requests after the start of the attack, "
            f"{verdict.delay_adversarial} of them adversarial"
        )
    elif verdict.attack_hour:
        lines.append("[red]the attack raised no alert[/red]")
    lines.append(
        f"flagged: {verdict.flagged_adversarial:.1%} of the adversarial requests, "
        f"and {verdict.flagged_benign:.2%} of the benign ones wrongly"
    )
    return lines
