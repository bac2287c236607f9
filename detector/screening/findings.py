"""Findings: rows too few, repeated, drifting or poisoned, on which no baseline should be fitted.

Whatever a baseline is fitted on becomes its definition of normal. `screen` looks for rows that
would make it blind or oversensitive; a finding says whether to stop or to continue with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from latentwatch.detector.errors import DimensionError, TooFewRowsError
from latentwatch.detector.features import Float32, Int64
from latentwatch.detector.rows import CLASS_ROWS, Layout, class_groups, row_digests
from latentwatch.detector.screening.drift import Drift, find_drift
from latentwatch.detector.screening.poisoning import Suspicion, find_poison
from latentwatch.detector.screening.within_class import WithinClass

RECOMMENDED_ROWS = 2_000
"""With fewer rows thresholds are imprecise; measured in docs/detection.md."""

MOST_REPEATED = 0.5
"""Share of repeated rows above which the source is at fault, not the retries of a client."""

DRIFT_WARNS, DRIFT_REFUSES = 0.01, 0.001

POISON_WARNS, POISON_REFUSES = 0.05, 0.01
"""Corrected p-values: upper bounds of how often clean rows reach each level."""

Kind = Literal["rows", "duplicates", "drift", "poisoned"]
Severity = Literal["refuse", "warn"]


@dataclass(frozen=True, eq=False)
class Finding:
    """A reason not to fit a baseline on some rows.

    Parameters
    ----------
    kind : "rows", "duplicates", "drift" or "poisoned"
    severity : "refuse" or "warn"
    sentence : str
        What was found, with figures, and what to do.
    rows : int64 [n]
        Indices of the rows concerned; empty if the finding is about all of them.
    p_value : float, optional
        Set if the finding is the result of a test.
    """

    kind: Kind
    severity: Severity
    sentence: str
    rows: Int64
    p_value: float | None = None


@dataclass(frozen=True, eq=False)
class Screening:
    """Result of screening.

    Parameters
    ----------
    findings : tuple of Finding
    kept : int64 [n]
        Indices of the rows without exact repeats, ascending. Fit on these.
    """

    findings: tuple[Finding, ...]
    kept: Int64

    def refusals(self, accepted: frozenset[str] = frozenset()) -> list[Finding]:
        """Findings that forbid a fit, without those of accepted kinds."""
        return [f for f in self.findings if f.severity == "refuse" and f.kind not in accepted]


def screen(
    activations: Mapping[str, ArrayLike],
    predicted: ArrayLike,
    event_time_ns: ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    classes: int | None = None,
    drop_constant: bool = False,
    pool_rare_classes: bool = False,
) -> Screening:
    """Screen rows for reasons not to fit a baseline on them.

    Parameters
    ----------
    activations : mapping of layer name to array [N, d]
        In order of depth; the last one is searched for poisoned rows.
    predicted : int array [N]
    event_time_ns : int array [N], optional
        Nanoseconds since 1970, UTC. Without it there is no test for drift, because the order of
        rows in a file means nothing.
    rng : numpy.random.Generator
        For permutations, folds and simulated nulls.
    classes, drop_constant, pool_rare_classes
        As for `Baseline.fit`.

    Raises
    ------
    BaselineError, ActivationsError
        No baseline can be fitted on the rows: shapes, NaN, columns that never vary.
    """
    layout, rows, labels = Layout.learn(activations, predicted, drop_constant)
    times = None if event_time_ns is None else np.asarray(event_time_ns, dtype=np.int64)
    if times is not None and times.shape != labels.shape:
        raise DimensionError(
            f"event_time_ns has shape {times.shape}; give one time for each of {len(rows)} rows"
        )
    kept = distinct_rows(rows, labels)
    findings = [*_duplicates(kept, len(rows)), *_few(labels[kept], classes, pool_rare_classes)]
    if len(kept) >= 2 * CLASS_ROWS:
        layers = _within_classes(layout, rows[kept], labels[kept])
        if times is not None and (drift := find_drift(layers, times[kept], rng)) is not None:
            findings += _drift(drift, kept)
        found = find_poison(layers[-1], POISON_WARNS, rng)
        findings += _poisoned(found, labels[kept], kept)
    return Screening(tuple(findings), kept)


def distinct_rows(rows: Float32, predicted: Int64) -> Int64:
    """Indices of the rows [N, d] that do not repeat an earlier one bit for bit, ascending."""
    digests = row_digests(rows, predicted)
    order = np.argsort(digests, kind="stable").astype(np.int64)
    later, earlier = order[1:], order[:-1]
    same = digests[later] == digests[earlier]
    # different rows share a digest now and then: the bits decide
    bits = np.ascontiguousarray(rows).view(np.uint32)
    same[same] = (bits[later[same]] == bits[earlier[same]]).all(axis=1)
    return np.setdiff1d(np.arange(len(rows), dtype=np.int64), later[same])


def _within_classes(layout: Layout, rows: Float32, classes: Int64) -> list[WithinClass]:
    groups = np.unique(classes, return_inverse=True)[1].astype(np.int64)
    layers = []
    for columns in layout.all_columns():
        chosen = rows[:, columns]
        # a column may have varied only among the repeats
        layers.append(WithinClass.of(chosen[:, chosen.std(axis=0) > 0], groups))
    return layers


def _duplicates(kept: Int64, count: int) -> Iterator[Finding]:
    repeated = np.setdiff1d(np.arange(count, dtype=np.int64), kept)
    share = len(repeated) / count
    if share > MOST_REPEATED:
        yield Finding(
            "duplicates",
            "refuse",
            f"{len(repeated):,} of {count:,} rows ({share:.0%}) repeat an earlier one exactly; "
            "find out why the source keeps sending them, or choose another period",
            repeated,
        )
    elif share:
        yield Finding(
            "duplicates",
            "warn",
            f"{len(repeated):,} of {count:,} rows ({share:.1%}) repeat an earlier one exactly "
            "and are left out",
            repeated,
        )


def _few(predicted: Int64, classes: int | None, pool: bool) -> Iterator[Finding]:
    try:
        # the same rule as in the fit, before anything expensive
        class_groups(predicted, classes, pool=pool)
    except TooFewRowsError as error:
        counts = np.bincount(predicted)
        yield Finding("rows", "refuse", str(error), np.flatnonzero(counts[predicted] < CLASS_ROWS))
    if len(predicted) < RECOMMENDED_ROWS:
        yield Finding(
            "rows",
            "warn",
            f"{len(predicted):,} rows are few: with {RECOMMENDED_ROWS:,} or more, thresholds "
            "are more precise and smaller shares are detected",
            np.empty(0, dtype=np.int64),
        )


def _drift(drift: Drift, kept: Int64) -> Iterator[Finding]:
    if drift.p_value > DRIFT_WARNS:
        return
    start, end = (f"{np.datetime64(ns, 'ns').astype('datetime64[s]')}Z" for ns in drift.span_ns)
    yield Finding(
        "drift",
        "refuse" if drift.p_value <= DRIFT_REFUSES else "warn",
        f"the activations changed within the period (p = {drift.p_value:.3f}), mostly from "
        f"{start} to {end}: by {drift.shift:.2f} standard deviations; narrow the period with "
        "--since and --until, or find out what happened then",
        kept[drift.rows],
        drift.p_value,
    )


def _poisoned(found: list[Suspicion], labels: Int64, kept: Int64) -> Iterator[Finding]:
    values, sizes = np.unique(labels, return_counts=True)
    for suspicion in found:
        value, size = values[suspicion.group], sizes[suspicion.group]
        rows = kept[suspicion.rows]
        what = (
            "have activations of another class"
            if suspicion.how == "labels"
            else "form a cluster of their own"
        )
        yield Finding(
            "poisoned",
            "refuse" if suspicion.p_value <= POISON_REFUSES else "warn",
            f"class {value}: {len(rows)} of {size:,} rows {what} (p = {suspicion.p_value:.1g}); "
            "check these requests, and leave them out unless they are meant to count as normal",
            rows,
            suspicion.p_value,
        )
