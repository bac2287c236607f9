"""The outcome of a soak for people: tables on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from statistics import median

from rich.table import Table

from latentwatch.lab.soak.run import Episode, Outcome

__all__ = ["differences", "markdown", "tables"]

Rows = list[tuple[str, ...]]
FAULTS = ("suite", "fault", "times", "recovery, median", "worst")
CHECKS = ("suite", "what is compared", "compared", "outcome")
TRENDS = ("suite", "what", "median", "growth per hour (95 %)", "outcome")


def tables(outcomes: Iterable[Outcome]) -> Iterator[Table]:
    """Tables of faults and recovery, of checks, and of trends."""
    for title, head, rows in _all(list(outcomes)):
        table = Table(title=title)
        for name in head:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        yield table


def markdown(outcomes: Iterable[Outcome]) -> str:
    """The same tables for ``docs/faults.md``."""
    parts = []
    for title, head, rows in _all(list(outcomes)):
        lines = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
        parts.append("\n".join([f"### {title}", "", *lines]))
    return "\n\n".join(parts) + "\n"


def differences(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Everything that differs, one line each."""
    for outcome in outcomes:
        for check in outcome.checks:
            yield from (f"{outcome.suite}: {check.name}: {text}" for text in check.differences)


def _all(outcomes: list[Outcome]) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    yield "Faults and recovery", FAULTS, [row for o in outcomes for row in _faults(o)]
    yield "Exactness", CHECKS, [row for o in outcomes for row in _checks(o)]
    if trends := [row for o in outcomes for row in _trends(o)]:
        yield "Level or not", TRENDS, trends


def _faults(outcome: Outcome) -> Rows:
    by_kind: dict[str, list[Episode]] = {}
    for episode in outcome.episodes:
        by_kind.setdefault(episode.kind, []).append(episode)
    rows: Rows = []
    for kind, episodes in by_kind.items():
        seconds = [e.recovery_seconds for e in episodes if e.recovery_seconds is not None]
        never = len(episodes) - len(seconds)
        middle = f"{median(seconds):.1f} s" if seconds else ""
        worst = f"not at all, {never} times" if never else f"{max(seconds):.1f} s"
        rows.append((outcome.suite, kind, str(len(episodes)), middle, worst))
    return rows


def _checks(outcome: Outcome) -> Rows:
    return [
        (
            outcome.suite,
            check.name,
            f"{check.compared:,}",
            ("holds" if check.holds else "DIFFERS") + (f" ({check.note})" if check.note else ""),
        )
        for check in outcome.checks
    ]


def _trends(outcome: Outcome) -> Rows:
    return [
        (
            outcome.suite,
            trend.what,
            f"{trend.median:.1f}",
            f"{trend.per_hour:+.1f} ({trend.low:+.1f} to {trend.high:+.1f})",
            "level" if trend.is_flat else "GROWS",
        )
        for trend in outcome.trends
    ]
