"""The scorecard: which attacks one baseline catches, at which strength and share, and how late.

As in `latentwatch evaluate`, figures come from streams of requests drawn from labelled sets of
activations. The baseline is the one in use, not one fitted for the purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.detector import Baseline
from latentwatch.detector.evaluation.runs import WARM_UP, Rows, first_alarm, run_lengths
from latentwatch.detector.evaluation.sets import is_drift
from latentwatch.detector.evaluation.streams import StreamScorer, joined, quantile_of_delays, spaced
from latentwatch.detector.features import BLOCK_ROWS, Int64

__all__ = ["SHARES", "Cell", "Scorecard", "make_scorecard"]

SHARES = (1.0, 0.3, 0.1, 0.05)

MOSTLY, RARELY = 0.95, 0.05
"""An attack is caught from the first share of the streams on, and not caught up to the second."""

Grade = Literal["caught", "sometimes", "not caught"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack at one share.

    Parameters
    ----------
    attack : str
        Name and strength.
    share : float
        Share of the requests that are attacked.
    grade : "caught", "sometimes" or "not caught"
    seen : float
        Share of the streams with an alarm in time.
    median, ninety : float or None
        Requests from the start of the attack to the alarm; None if fewer streams had one.
    streams : int
        Streams without a false alarm before the attack.
    """

    attack: str
    share: float
    grade: Grade
    seen: float
    median: float | None
    ninety: float | None
    streams: int


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All that the page shows.

    Parameters
    ----------
    model, version, baseline_sha256, fitted_rows : str, str, str, int
    average_run_length : int
        Benign requests between two false alarms, as configured; `threshold` follows from it.
    within : int
        Requests after which an attack counts as missed.
    false_alarms : dict
        Observed requests per false alarm at lower targets, where they can be counted: ``requests``,
        ``alarms`` and ``interval`` by target and kind of stream.
    cells : tuple of Cell
    success : dict of attack to share
        Share of its inputs that fool the model, where known.
    """

    model: str
    version: str
    baseline_sha256: str
    fitted_rows: int
    average_run_length: int
    threshold: float
    within: int
    clean_rows: int
    false_alarms: Mapping[str, Mapping[str, Mapping[str, Any]]]
    cells: tuple[Cell, ...]
    success: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def make_scorecard(
    baseline: Baseline,
    arrays: Mapping[str, NDArray[Any]],
    *,
    average_run_length: int = 1_000_000,
    within: int = 2000,
    streams: int = 100,
    windows: int = 200,
    success: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scorecard:
    """Measure on arrays ``<set>.<layer>`` [n, d] and ``<set>.predicted`` [n].

    Parameters
    ----------
    baseline : Baseline
    arrays : mapping
        The set ``clean`` is benign traffic, other than the baseline's rows. Sets whose name begins
        with "drift" and the set ``baseline`` are ignored. All others are attacks.
    average_run_length : int
        The run length in use.
    within : int
        Requests after which an attack counts as missed.
    streams, windows : int
        Streams of each attack and share; the size of the search for false alarms, as in
        `detector.evaluate`.
    success : mapping, optional
        Share of each attack's inputs that fool the model.
    """
    sets = _sets(baseline, arrays)
    if "clean" not in sets:
        raise ExperimentError(
            "the set 'clean' is missing: name arrays clean.<layer> and clean.predicted"
        )
    rows = {name: baseline.rows(*own) for name, own in sets.items()}
    features = {name: baseline.features(*own) for name, own in rows.items()}
    clean = features.pop("clean")
    total, done = len(features) * len(SHARES), 0
    cells = []
    threshold = baseline.threshold(average_run_length)
    for name, attack in features.items():
        scorer = StreamScorer(baseline, joined(clean, attack))
        for share in SHARES:
            rng = np.random.default_rng([seed, done])
            found = [
                _delay(scorer, len(clean), len(attack), share, threshold, within, rng)
                for _ in range(streams)
            ]
            cells.append(_cell(name, share, [delay for delay in found if delay > 0]))
            done += 1
            progress(done, total)
    realised = run_lengths(baseline, clean, Rows(*rows["clean"]), windows, seed, lambda: None)
    return Scorecard(
        baseline.model,
        baseline.version,
        baseline.sha256,
        baseline.fitted_rows,
        average_run_length,
        threshold,
        within,
        len(clean),
        realised.detail,
        tuple(cells),
        dict(success or {}),
    )


def _sets(baseline: Baseline, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return activations by layer and predictions of each set to measure."""
    # a strength has a dot in it, so the first one does not end the name of the set
    names = dict.fromkeys(
        key.removesuffix(".predicted") for key in arrays if key.endswith(".predicted")
    )
    try:
        return {
            name: (
                {layer: arrays[f"{name}.{layer}"] for layer in baseline.layer_names},
                arrays[f"{name}.predicted"],
            )
            for name in names
            if name != "baseline" and not is_drift(name)
        }
    except KeyError as error:
        raise ExperimentError(
            f"the array {error.args[0]!r} is missing: every set needs the baseline's layers, "
            f"{', '.join(baseline.layer_names)}, and 'predicted'"
        ) from error


def _delay(
    scorer: StreamScorer,
    clean: int,
    attack: int,
    share: float,
    threshold: float,
    within: int,
    rng: np.random.Generator,
) -> float:
    """Count requests to the alarm; infinite without one in time, 0 if it came before the attack."""
    start = WARM_UP + int(rng.integers(BLOCK_ROWS))
    bad = rng.random(start + within) < share
    bad[:start] = False
    stream: Int64 = np.empty(len(bad), dtype=np.int64)
    stream[~bad] = spaced(rng, clean, int((~bad).sum()), WARM_UP)
    stream[bad] = clean + spaced(rng, attack, int(bad.sum()), WARM_UP)
    found = first_alarm(scorer, stream, threshold)
    return float("inf") if found is None else float(max(0, found - start))


def _cell(name: str, share: float, delays: Sequence[float]) -> Cell:
    values = np.array(delays, dtype=np.float64)
    seen = float(np.isfinite(values).mean()) if len(values) else 0.0
    grade: Grade = "caught" if seen >= MOSTLY else "not caught" if seen <= RARELY else "sometimes"
    return Cell(
        name, share, grade, round(seen, 4), quantile_of_delays(values, 0.5),
        quantile_of_delays(values, 0.9), len(values),
    )  # fmt: skip
