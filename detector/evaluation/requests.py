"""Evaluation of single requests and hours: calibration, flags, contamination, suspects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.decision import Decision, decide
from latentwatch.detector.evaluation.streams import joined
from latentwatch.detector.features import Float64, Int64
from latentwatch.detector.flagging import contamination, flag
from latentwatch.detector.sketch import Features, Requests, Sketch

HOUR_REQUESTS = 2_000
"""Requests per hour; fewer if the sets are too small, see `hour_requests`."""

FLAG_SHARES = (0.05, 0.3)
"""Contaminated shares of the hours in which requests are flagged."""

FALSE_DISCOVERY_RATE = 0.05

CONTAMINATIONS = (0.05, 0.1, 0.3)
"""Shares of the hours whose contamination is estimated."""

LEVELS = (0.01, 0.05, 0.1)
"""Levels at which the p-values of clean windows are counted."""

WINDOW_SIZES = (32, 50, 100, 200, 500)

ALARMED = (100, 1.0)
"""Size and attack share of the windows whose pattern is evaluated."""

SUSPECTED = (100, 0.3)
"""The same for suspects."""

MOST_SUSPICIOUS = 10

CLASS_ROWS = 20
"""Classes with fewer clean rows are not tested separately."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws windows of clean and other requests without replacement, the clean ones first."""

    baseline: Baseline
    clean: Features
    rng: np.random.Generator

    def features(self, other: Features, good: int, bad: int) -> Features:
        """Rows of a window of `good` clean requests and `bad` others."""
        parts = [
            rows.take(self.rng.choice(len(rows), count, replace=False).astype(np.int64))
            for rows, count in ((self.clean, good), (other, bad))
        ]
        return parts[1] if not good else parts[0] if not bad else joined(*parts)

    def sketch(self, other: Features, good: int, bad: int) -> Sketch:
        """The same as a sketch; ids are positions in the window, so the others have the highest."""
        rows = self.features(other, good, bad)
        return self.baseline.sketch(rows, Requests.anonymous(len(rows)))

    def decide(self, other: Features, size: int, share: float) -> Decision:
        """Judge a window with a share `share` of the other set."""
        bad = round(size * share)
        return decide(self.sketch(other, size - bad, bad), self.baseline)


def without_residuals(features: Features) -> Features:
    """Rows without psi, which are faster to summarise; flags only need p-values."""
    return replace(features, psi=features.psi[:, :0])


def hour_requests(clean: int, others: Mapping[str, Features]) -> int:
    """Requests per hour, few enough that no row occurs twice in any mixture."""
    largest = max((*FLAG_SHARES, *CONTAMINATIONS))
    return min(HOUR_REQUESTS, clean, *(int(len(rows) / largest) for rows in others.values()))


HourMeasure = Callable[["Draws", Features, float, int, int], dict[str, float]]
"""Measures hours: the draws, the attack, its share, requests per hour and number of hours."""


def discoveries(
    draws: Draws, attack: Features, share: float, requests: int, hours: int
) -> dict[str, float]:
    """Realised false discovery rate and share of the attack found, on average over hours.

    An hour without flagged requests counts as a false discovery rate of zero (Benjamini and
    Hochberg 1995).
    """
    bad = round(requests * share)
    rows = draws.baseline.fitted_rows
    false, found = np.empty(hours), np.empty(hours)
    for hour in range(hours):
        flagged = flag(draws.sketch(attack, requests - bad, bad), FALSE_DISCOVERY_RATE, rows)
        hits = sum(int(one.request_id) >= requests - bad for one in flagged.requests)
        false[hour] = 1.0 - hits / max(1, len(flagged.requests)) if flagged.requests else 0.0
        found[hour] = hits / max(1, bad)
    return {"false_discovery_rate": float(false.mean()), "found": float(found.mean())}


def clean_flagged(draws: Draws, requests: int, hours: int) -> float:
    """Average number of flagged requests per 2,000 clean ones."""
    rows = draws.baseline.fitted_rows
    counts = [
        flag(draws.sketch(draws.clean, requests, 0), FALSE_DISCOVERY_RATE, rows).count
        for _ in range(hours)
    ]
    return float(np.mean(counts)) * HOUR_REQUESTS / requests


def contaminations(
    draws: Draws, attack: Features, share: float, requests: int, hours: int
) -> dict[str, float]:
    """Mean estimate of the contaminated share, and how often the lower bound was below it."""
    bad = round(requests * share)
    rows = draws.baseline.fitted_rows
    found = [contamination(draws.sketch(attack, requests - bad, bad), rows) for _ in range(hours)]
    return {
        "estimate": float(np.mean([one.estimate for one in found])),
        "coverage": float(np.mean([one.lower_bound <= bad / requests for one in found])),
    }


def kolmogorov_smirnov(p_values: Float64, ranked: int, compared: int) -> tuple[float, float]:
    """Distance of conformal p-values from uniform, and its p-value.

    Parameters
    ----------
    p_values : float64 [n]
        Multiples of ``1 / (ranked + 1)``.
    ranked : int
        Number of baseline rows among which the p-values are ranks.
    compared : int
        Baseline rows m that limit their precision: this is a two-sample test with an effective size
        of ``n m / (n + m)``.
    """
    # imported here because it takes a third of a second, which workers need not wait for
    from scipy.stats import kstwo

    values, counts = np.unique(p_values, return_counts=True)
    n = len(p_values)
    upto = np.cumsum(counts) / n
    # just below a value, the uniform distribution on the multiples lags one step behind
    before = upto - counts / n - (values - 1.0 / (ranked + 1))
    distance = float(np.maximum(np.abs(upto - values), np.abs(before)).max())
    size = max(1, round(n * compared / (n + compared)))
    return distance, float(kstwo.sf(distance, size))


def request_calibration(
    baseline: Baseline, clean: Features, baseline_predicted: Int64
) -> dict[str, Any]:
    """Uniformity of typicality p-values on clean requests, over all and in the worst class.

    The p-value of the worst class is adjusted for their number (Bonferroni).
    """
    p_values = clean.p_values[:, 0]
    rows = baseline.fitted_rows
    distance, p_value = kolmogorov_smirnov(p_values, rows, rows)
    counts = np.bincount(clean.predicted, minlength=baseline.classes)
    own = np.bincount(baseline_predicted, minlength=baseline.classes)
    tested = np.flatnonzero((counts >= CLASS_ROWS) & (own > 0)).tolist()
    by_class = {
        one: kolmogorov_smirnov(p_values[clean.predicted == one], rows, int(own[one]))
        for one in tested
    }
    worst = min(by_class, key=lambda one: by_class[one][1], default=None)
    return {
        "requests": {"distance": distance, "p_value": p_value},
        "worst_class": None
        if worst is None
        else {
            "class": worst,
            "distance": by_class[worst][0],
            "p_value": min(1.0, by_class[worst][1] * len(by_class)),
        },
    }


def window_calibration(draws: Draws, size: int, windows: int) -> dict[str, float]:
    """Share of clean windows with a p-value of at most each level."""
    p_values = np.array([draws.decide(draws.clean, size, 0.0).p_value for _ in range(windows)])
    return {str(level): float(np.mean(p_values <= level)) for level in LEVELS}


def patterns(draws: Draws, other: Features, alpha: float, windows: int) -> dict[str, Any]:
    """Patterns of the windows that alarm; shares are None if none does."""
    found = [draws.decide(other, *ALARMED) for _ in range(windows)]
    named = [decision.pattern for decision in found if decision.p_value <= alpha]
    shares = {
        name: named.count(name) / len(named) if named else None for name in ("adversarial", "drift")
    }
    return {**shares, "alarms": len(named)}


def suspects(draws: Draws, attack: Features, alpha: float, windows: int) -> float | None:
    """Share of the attack among the ten top suspects of windows that alarm; None without alarms."""
    size, share = SUSPECTED
    good = size - round(size * share)
    found = [draws.decide(attack, size, share) for _ in range(windows)]
    hits = [
        int(one.request_id) >= good
        for decision in found
        if decision.p_value <= alpha
        for one in decision.sketch.suspects[:MOST_SUSPICIOUS]
    ]
    return float(np.mean(hits)) if hits else None
