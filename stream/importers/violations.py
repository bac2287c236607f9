"""An hour of a recording, judged as the worker judges it, as a Model Monitor violations file."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from latentwatch.detector import Baseline, Decision, Flagged, Monitor, Sketch, Suspect, decide, flag
from latentwatch.detector.calibration import Calibration
from latentwatch.detector.decision import LEAST_ROWS
from latentwatch.detector.errors import ActivationsError
from latentwatch.detector.monitor import Block
from latentwatch.stream.core.errors import RecordingError
from latentwatch.stream.core.lane import checked_rows, requests_of
from latentwatch.stream.core.times import HOUR_NS, hour_name
from latentwatch.stream.recording import RecordedMessage, Recording
from latentwatch.stream.recording.layout import hour_folder

__all__ = ["HourVerdict", "judge_hour", "violations_of"]

CHECK_TYPE = "baseline_drift_check"
"""The one documented value of `constraint_check_type` that means another distribution."""

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass(frozen=True, slots=True)
class HourVerdict:
    """What the hourly decision says.

    Parameters
    ----------
    baseline : Baseline
    hour : int
        Hours since 1970, UTC.
    sketch : Sketch
        The sum of the hour's requests.
    decision : Decision or None
        None where fewer than eight distinct requests came, which make no window.
    flagged : Flagged
        All requests that are flagged, however many.
    false_discovery_rate : float
    refused : int
        Requests of the hour that do not fit the baseline; a worker refuses them as well.
    refusal : str
        Why the first of them does not.
    """

    baseline: Baseline
    hour: int
    sketch: Sketch
    decision: Decision | None
    flagged: Flagged
    false_discovery_rate: float
    refused: int = 0
    refusal: str = ""


@dataclass(slots=True)
class _Hour:
    """The sum of the hour so far, and every request that may turn out to be flagged."""

    hour: int
    sketch: Sketch
    suspects: list[Suspect] = field(default_factory=list)
    refused: int = 0
    refusal: str = ""

    def add(self, block: Block, baseline: Baseline) -> None:
        """Add the rows of a block that fall into the hour."""
        rows = np.flatnonzero(block.requests.event_time_ns // HOUR_NS == self.hour)
        if len(rows):
            part = baseline.sketch(block.features.take(rows), block.requests.take(rows))
            self.sketch += part
            # a block has fewer requests than a sketch has names for: none is ever lost here
            self.suspects += part.suspects

    def refuse(self, message: RecordedMessage, error: Exception) -> None:
        """Count the rows of a message that does not fit the baseline."""
        own = int((message.batch.event_time_ns // HOUR_NS == self.hour).sum())
        self.refusal = self.refusal or (str(error) if own else "")
        self.refused += own


def judge_hour(
    recording: Recording,
    baseline: Baseline,
    hour: int,
    *,
    false_discovery_rate: float = 0.1,
    progress: Progress | None = None,
) -> HourVerdict:
    """Judge the requests of one hour of one model version.

    The hour before is read as well: a request that repeats one of it is counted, not judged.

    Parameters
    ----------
    recording : Recording
        Of one model version.
    baseline : Baseline
        Of the same one.
    hour : int
        Hours since 1970, UTC.
    false_discovery_rate : float
        Share of benign requests tolerated among the flagged ones.
    progress : callable, optional

    Raises
    ------
    RecordingError
        Nothing of the hour was recorded, nothing fits the baseline, or that is of another model.
    """
    _check_model(recording, baseline)
    start = hour * HOUR_NS
    _check_hour(recording, hour)
    near = recording.select(since_ns=start - HOUR_NS, until_ns=start + HOUR_NS)
    sums = _Hour(hour, baseline.empty_sketch())
    for block in _blocks(near, baseline, sums, progress):
        sums.add(block, baseline)
    if not sums.sketch.rows:
        raise RecordingError(
            f"{recording.url} has no request of {hour_folder(hour)} that fits the baseline of "
            f"{baseline.model}/{baseline.version}: {sums.refusal}"
        )
    found = flag(sums.sketch, false_discovery_rate, baseline.fitted_rows)
    named = [s for s in sums.suspects if s.p_value <= found.level]
    # all but input_ref, which may be None
    named.sort(key=lambda suspect: suspect[:-1])
    return HourVerdict(
        baseline,
        hour,
        sums.sketch,
        decide(sums.sketch, baseline) if sums.sketch.judged >= LEAST_ROWS else None,
        Flagged(found.level, found.count, tuple(named)),
        false_discovery_rate,
        sums.refused,
        sums.refusal,
    )


def _check_model(recording: Recording, baseline: Baseline) -> None:
    own, wanted = recording.only_model(), (baseline.model, baseline.version)
    if own != wanted:
        raise RecordingError(
            f"{recording.url} is of {'/'.join(own)} and the baseline of {'/'.join(wanted)}: give "
            "the baseline of the same model version"
        )


def _check_hour(recording: Recording, hour: int) -> None:
    hours = sorted({place.hour for place in recording.places})
    if hour not in hours:
        known = f"{hour_folder(hours[0])} to {hour_folder(hours[-1])}"
        raise RecordingError(
            f"{recording.url} has no request of {hour_folder(hour)}: choose an hour from {known}"
        )


def _blocks(
    recording: Recording, baseline: Baseline, sums: _Hour, progress: Progress | None
) -> Iterator[Block]:
    """Featurised blocks of each partition, as its lane forms them."""
    # only its blocks are used, not its windows: any threshold works
    longest = baseline.calibration.run_lengths.longest
    lanes: dict[int, Monitor] = {}
    for message in recording.messages(progress):
        lane = lanes.get(message.partition)
        if lane is None:
            lane = Monitor(baseline, average_run_length=longest, partition=message.partition)
            lanes[message.partition] = lane
        try:
            rows, predicted = checked_rows(message.batch, baseline)
        except ActivationsError as error:
            sums.refuse(message, error)
            continue
        requests = requests_of(message.batch, message.offset, message.partition)
        yield from (block for block, _ in lane.push(rows, predicted, requests))
    for lane in lanes.values():
        if (unfinished := lane.pending()) is not None:
            yield unfinished


def violations_of(verdict: HourVerdict, *, level: float) -> dict[str, Any]:
    """What the violations file says, in the form that Model Monitor documents.

    A view is listed where its p-value is at most `level`; one that only explains, where one that
    decides is listed too, so that a clean hour has a listed view with a probability of at most
    `level`. A request is listed where the false discovery procedure flags it. Of a clean hour
    the list is empty, but for such chance.

    Parameters
    ----------
    verdict : HourVerdict
    level : float
        Of the hour's test.

    Returns
    -------
    dict
        ``{"violations": [{"feature_name", "constraint_check_type", "description"}, ...]}``

    Raises
    ------
    RecordingError
        The baseline has no p-values as small as `level`.
    """
    listed = [*_views(verdict, level), *_requests_of(verdict)]
    return {
        "violations": [
            {"feature_name": name, "constraint_check_type": CHECK_TYPE, "description": text}
            for name, text in listed
        ]
    }


def _views(verdict: HourVerdict, level: float) -> Iterator[tuple[str, str]]:
    if verdict.decision is None:
        return
    baseline, decision, rows = verdict.baseline, verdict.decision, verdict.sketch.judged
    threshold = _threshold(baseline.calibration, rows, level)
    if decision.score <= threshold:
        return
    for name, view in decision.views.items():
        if view.score > threshold:
            p_value = baseline.calibration.p_value(rows, view.score)
            yield (
                name,
                f"Baseline drift distance: {view.score:.4f} exceeds threshold: {threshold:.4f}. "
                f"Hour {hour_name(verdict.hour)} of {baseline.model}/{baseline.version}, {rows} "
                f"distinct requests: p-value {p_value:.2g} (level {level:g}), T {view.T:.4g}, "
                f"E {view.E:.4g}, contamination {decision.contamination.estimate:.1%} (at least "
                f"{decision.contamination.lower_bound:.1%}), pattern {decision.pattern}",
            )


def _threshold(calibration: Calibration, rows: int, level: float) -> float:
    """Score above which, and not at which, the p-value is at most `level`."""
    least = calibration.p_value(rows, np.inf)
    if least > level:
        raise RecordingError(
            f"this baseline has no p-values below {least:.2g} for {rows} requests: ask with "
            f"--level {least * 1.05:.2g}, or fit with more --simulated-requests"
        )
    scores = np.unique(np.concatenate(list(calibration.window_scores.values())))

    def is_above(score: float) -> bool:
        return calibration.p_value(rows, float(np.nextafter(score, np.inf))) <= level

    return float(scores[bisect_left(scores, True, key=is_above)])


def _requests_of(verdict: HourVerdict) -> Iterator[tuple[str, str]]:
    deciding = verdict.baseline.views[0].name
    for suspect in verdict.flagged.requests:
        input_ref = f", input {suspect.input_ref}" if suspect.input_ref else ""
        yield (
            deciding,
            f"Request {suspect.request_id}: p-value {suspect.p_value:.2g} is at most "
            f"{verdict.flagged.level:g}, the level of a false discovery rate of "
            f"{verdict.false_discovery_rate:g}; predicted class {suspect.predicted}, squared "
            f"distance {-suspect.minus_squared_distance:.4g}, partition {suspect.partition}, "
            f"offset {suspect.offset}{input_ref}",
        )
