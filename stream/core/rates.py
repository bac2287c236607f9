"""Hourly detection rates: parts of hours from all partitions, added up and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from latentwatch.detector import Baseline, Flagged, Sketch, Suspect, contamination, decide, flag
from latentwatch.detector.decision import LEAST_ROWS
from latentwatch.stream.core.alerts import suspect_request
from latentwatch.stream.core.events import FlaggedRequest, RateRow, Record
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.times import hour_name
from latentwatch.stream.core.topic_names import Topics

__all__ = ["FindBaseline", "HourReport", "RateAggregator"]

FindBaseline = Callable[[str, str], Baseline | None]

Change = Literal["flagged", "withdrawn"]


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
    rates : list of RateRow
        One row for each view (layer).
    flagged : list of FlaggedRequest
        Requests that this revision flags and the one before did not, with the status "flagged",
        and those that it flags no longer, "withdrawn": the rate of false discoveries is promised
        for the hour as it stands in the end, whatever the order of its parts.
    """

    model: str
    version: str
    hour: int
    revision: int
    rates: list[RateRow]
    flagged: list[FlaggedRequest]

    def to_records(self, topics: Topics) -> list[Record]:
        """The records to publish."""
        rates = [row.to_record(topics) for row in self.rates]
        return rates + [request.to_record(topics) for request in self.flagged]


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

    def change(self, flagged: Flagged) -> list[tuple[Change, Suspect]]:
        """Take over whom a revision flags; return what changed, as (status, request)."""
        now = {(s.request_id, s.partition, s.offset): s for s in flagged.requests}
        # of an hour with more of them than a sketch has names for, nobody is withdrawn for that
        gone = [who for who, s in self.flagged.items() if s.p_value > flagged.level]
        changed: list[tuple[Change, Suspect]] = [
            ("withdrawn", self.flagged.pop(who)) for who in gone
        ]
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
        common = RateRow(
            model=part.model,
            version=part.version,
            hour=hour_name(part.hour),
            requests=hour.requests,
            unjudged=hour.requests - (tally.sketch.rows if tally else 0),
            repeated=tally.sketch.rows - tally.sketch.judged if tally else 0,
            late=sum(t.late for t in hour.tallies.values()),
            revision=len(hour.parts),
            status="no-baseline" if baseline is None else "other-baseline",
        )
        about = (part.model, part.version, part.hour, len(hour.parts))
        if baseline is None or tally is None:
            return HourReport(*about, [common], [])
        flagged = flag(tally.sketch, self._rate, baseline.fitted_rows)
        common = replace(
            common,
            status="ok",
            flagged=flagged.count,
            detection_rate=flagged.count / max(tally.sketch.judged, 1),
            windows=tally.windows,
            alarms=tally.alarms,
            baseline_sha256=baseline.sha256,
        )
        requests = [
            FlaggedRequest(
                model=part.model,
                version=part.version,
                hour=common.hour,
                status=status,
                **asdict(suspect_request(suspect)),
            )
            for status, suspect in hour.change(flagged)
        ]
        return HourReport(*about, _judged(common, tally.sketch, baseline), requests)


def _judged(common: RateRow, sketch: Sketch, baseline: Baseline) -> list[RateRow]:
    """T, E, score, p-value and contamination of each view; the first view decides."""
    rows = []
    views = decide(sketch, baseline).views if sketch.judged >= LEAST_ROWS else {}
    for index, view in enumerate(baseline.views):
        share = contamination(sketch, baseline.fitted_rows, index)
        row = replace(
            common,
            layer=view.name,
            contamination=share.estimate,
            contamination_lower_bound=share.lower_bound,
        )
        if found := views.get(view.name):
            p_value = baseline.calibration.p_value(sketch.judged, found.score)
            row = replace(row, T=found.T, E=found.E, score=found.score, p_value=p_value)
        rows.append(row)
    return rows
