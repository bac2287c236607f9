"""Hourly detection rates: parts of hours from all partitions, added up and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from latentwatch.detector import Baseline, Flagged, Sketch, Suspect, contamination, decide, flag
from latentwatch.detector.decision import LEAST_ROWS
from latentwatch.stream.core.alerts import suspect_values
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.times import hour_name

__all__ = ["FindBaseline", "HourReport", "RateAggregator"]

FindBaseline = Callable[[str, str], Baseline | None]


@dataclass(frozen=True, slots=True)
class HourReport:
    """What is published when an hour's sums changed.

    Parameters
    ----------
    model, version : str
    hour : int
        Hours since 1970, UTC.
    revision : int
        Parts that the hour consists of so far; each further one corrects the rows.
    rates : list of dict
        One row a view (layer).
    flagged : list of dict
        Requests that this revision flags and the one before did not, with the status "flagged",
        and those that it flags no longer, "withdrawn": the rate of false discoveries is promised
        for the hour as it stands in the end, whatever the order of its parts.
    """

    model: str
    version: str
    hour: int
    revision: int
    rates: list[dict[str, Any]]
    flagged: list[dict[str, Any]]


@dataclass(slots=True)
class _Hour:
    parts: set[tuple[int, int]] = field(default_factory=set)
    tallies: dict[str, Tally] = field(default_factory=dict)
    flagged: dict[tuple[str, int, int], Suspect] = field(default_factory=dict)

    def add(self, part: HourPart) -> bool:
        """Add a part; False if it was known (a re-delivery)."""
        identity = (part.partition, part.part)
        if identity in self.parts:
            return False
        self.parts.add(identity)
        known = self.tallies.get(part.baseline)
        self.tallies[part.baseline] = part.tally if known is None else known + part.tally
        return True

    def change(self, flagged: Flagged) -> list[tuple[str, Suspect]]:
        """Take over whom a revision flags; return what changed, as (status, request)."""
        now = {(s.request_id, s.partition, s.offset): s for s in flagged.requests}
        # of an hour with more of them than a sketch has names for, nobody is withdrawn for that
        gone = [who for who, s in self.flagged.items() if s.p_value > flagged.level]
        changed = [("withdrawn", self.flagged.pop(who)) for who in gone]
        changed += [("flagged", s) for who, s in now.items() if who not in self.flagged]
        self.flagged |= now
        return changed

    @property
    def requests(self) -> int:
        return sum(tally.sketch.rows for tally in self.tallies.values())


class RateAggregator:
    """All hours that parts are known of.

    Parameters
    ----------
    find_baseline : callable of (model, version)
        The baseline that judges the sums, or None.
    false_discovery_rate : float
        Share of benign requests tolerated among the flagged ones of an hour.
    keep_hours : int
        Hours behind the newest of a model version that are kept for corrections.
    """

    def __init__(
        self, find_baseline: FindBaseline, false_discovery_rate: float, keep_hours: int
    ) -> None:
        self._find_baseline = find_baseline
        self._rate = false_discovery_rate
        self._keep_hours = keep_hours
        self._hours: dict[tuple[str, str], dict[int, _Hour]] = {}

    def add(self, part: HourPart) -> HourReport | None:
        """Add a part; return what to publish, or None if nothing changed."""
        hours = self._hours.setdefault((part.model, part.version), {})
        if hours and part.hour < max(hours) - self._keep_hours:
            # its hour was forgotten: the part alone would pass for the whole hour
            return None
        hour = hours.setdefault(part.hour, _Hour())
        if not hour.add(part):
            return None
        for old in [h for h in hours if h < max(hours) - self._keep_hours]:
            del hours[old]
        return self._report(part, hour)

    def forget(self) -> None:
        """Forget everything: it is read again from the topic."""
        self._hours.clear()

    def _report(self, part: HourPart, hour: _Hour) -> HourReport:
        baseline = self._find_baseline(part.model, part.version)
        tally = hour.tallies.get(baseline.sha256) if baseline else None
        common = {
            "model": part.model,
            "version": part.version,
            "hour": hour_name(part.hour),
            "requests": hour.requests,
            "unjudged": hour.requests - (tally.sketch.rows if tally else 0),
            "repeated": tally.sketch.rows - tally.sketch.judged if tally else 0,
            "late": sum(t.late for t in hour.tallies.values()),
            "revision": len(hour.parts),
        }
        if baseline is None or tally is None:
            status = "no-baseline" if baseline is None else "other-baseline"
            rates = [{**common, "layer": "", "status": status, **_not_judged()}]
            return HourReport(part.model, part.version, part.hour, len(hour.parts), rates, [])
        flagged = flag(tally.sketch, self._rate, baseline.fitted_rows)
        common |= {
            "status": "ok",
            "flagged": flagged.count,
            "detection_rate": flagged.count / max(tally.sketch.judged, 1),
            "windows": tally.windows,
            "alarms": tally.alarms,
            "baseline_sha256": baseline.sha256,
        }
        return HourReport(
            part.model,
            part.version,
            part.hour,
            len(hour.parts),
            [{**common, **row} for row in _judged(tally.sketch, baseline)],
            [
                {
                    "model": part.model,
                    "version": part.version,
                    "hour": common["hour"],
                    "status": status,
                    **suspect_values(suspect),
                }
                for status, suspect in hour.change(flagged)
            ],
        )


def _not_judged() -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("contamination", "contamination_lower_bound", "T", "E", "score", "p_value")
    )
    return {
        "flagged": 0,
        "detection_rate": 0.0,
        "windows": 0,
        "alarms": 0,
        "baseline_sha256": "",
        **nothing,
    }


def _judged(sketch: Sketch, baseline: Baseline) -> list[dict[str, Any]]:
    """T, E, score, p-value and contamination of each view; the first view decides."""
    rows = []
    views = decide(sketch, baseline).views if sketch.judged >= LEAST_ROWS else {}
    for index, view in enumerate(baseline.views):
        share = contamination(sketch, baseline.fitted_rows, index)
        found = views.get(view.name)
        rows.append(
            {
                "layer": view.name,
                "contamination": share.estimate,
                "contamination_lower_bound": share.lower_bound,
                "T": found.T if found else None,
                "E": found.E if found else None,
                "score": found.score if found else None,
                "p_value": baseline.calibration.p_value(sketch.judged, found.score)
                if found
                else None,
            }
        )
    return rows
