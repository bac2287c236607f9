"""Evaluation: false alarms and power on labelled sets of activations.

The input is arrays ``<set>.<layer>`` [n, d] and ``<set>.predicted`` [n]. The baseline is fitted on
the set ``baseline``, ``clean`` is benign traffic, and every other set is an attack. Choose settings
on the ``baseline`` rows only, never on the attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.baseline import Baseline
from latentwatch.detector.calibration import Progress
from latentwatch.detector.errors import ActivationsError
from latentwatch.detector.evaluation.requests import (
    CONTAMINATIONS,
    FLAG_SHARES,
    WINDOW_SIZES,
    Draws,
    HourMeasure,
    clean_flagged,
    contaminations,
    discoveries,
    hour_requests,
    patterns,
    request_calibration,
    suspects,
    window_calibration,
    without_residuals,
)
from latentwatch.detector.evaluation.runs import (
    DELAY_SHARES,
    Rows,
    delays,
    run_length_steps,
    run_lengths,
)
from latentwatch.detector.evaluation.sets import (
    SIMULATED_REQUESTS,
    Labelled,
    fit_baseline,
    is_drift,
    split_sets,
)
from latentwatch.detector.evaluation.splits import Splits
from latentwatch.detector.features import Int64
from latentwatch.detector.sketch import Features

MIXTURES = ((32, 1.0), (50, 1.0), (100, 1.0), (50, 0.3), (100, 0.2), (200, 0.1), (500, 0.05))
"""Sizes of windows, and the share of their requests that is adversarial."""

WITH_OWN_DRAWS = ((100, 1.0),)
"""Mixtures added later, with random draws of their own so that older figures stay the same."""

Measure = Literal["power", "arl", "delay", "requests"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `evaluate`; fields that were not measured are None.

    Parameters
    ----------
    false_alarm : dict of window size to rate
        Share of clean windows with a p-value of at most alpha.
    power : dict of set to dict of "window@share" to rate
    auroc : dict of set to area under the ROC curve of single requests
    arl : dict of target to dict of kind of stream to requests per false alarm
        Kinds are "iid", "class_shift" and "autocorrelated"; None if there was no alarm.
    arl_detail : the same, with the requests and alarms behind it
        The 95 % interval [low, high] has no high end if there was no alarm. With several random
        splits, `arl` is all requests over all alarms, and "splits" holds the figures of each.
    delay, delay_90 : dict of attack to dict of share to requests
        From the start of an attack to the alarm: median and 90th percentile of the streams, None
        if fewer of them alarmed.
    delay_streams : dict of attack to dict of share to streams
        Streams without a false alarm before the attack.
    fdr : dict of attack to dict of share to dict
        "false_discovery_rate" and "found", the share of the attack that was flagged.
    clean_flagged : float
        Requests flagged per 2,000 clean ones.
    hour_requests : int
        Requests of an hour in `fdr`, `clean_flagged` and `contamination`.
    calibration : dict
        "requests", "worst_class" and "windows": how uniform p-values of clean traffic are.
    contamination : dict of attack to dict of share to dict
        Mean "estimate", and "coverage" of the 95 % lower bound.
    pattern : dict of set to dict
        Shares of the alarms named "adversarial" and "drift", and number of "alarms".
    suspects : dict of attack to share
        Share of attack requests among the ten most suspicious of an alarm.
    """

    false_alarm: dict[str, float] | None = None
    power: dict[str, dict[str, float]] | None = None
    auroc: dict[str, float] | None = None
    arl: dict[str, dict[str, float | None]] | None = None
    arl_detail: dict[str, dict[str, dict[str, Any]]] | None = None
    delay: dict[str, dict[str, float | None]] | None = None
    delay_90: dict[str, dict[str, float | None]] | None = None
    delay_streams: dict[str, dict[str, int]] | None = None
    fdr: dict[str, dict[str, dict[str, float]]] | None = None
    clean_flagged: float | None = None
    hour_requests: int | None = None
    calibration: dict[str, Any] | None = None
    contamination: dict[str, dict[str, dict[str, float]]] | None = None
    pattern: dict[str, dict[str, Any]] | None = None
    suspects: dict[str, float | None] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The measured values, for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Material:
    """Input of all measurements; `others` holds attacks and drift."""

    baseline: Baseline
    baseline_predicted: Int64
    clean: Features
    clean_rows: Rows
    others: dict[str, Features]
    alpha: float
    seed: int
    windows: int
    splits: Splits | None = None
    """Random splits of the benign rows for run lengths; None for the split of the file."""

    @property
    def attacks(self) -> dict[str, Features]:
        return {name: rows for name, rows in self.others.items() if not is_drift(name)}

    @property
    def repeats(self) -> int:
        """Number of streams and hours per kind, which cost more than windows."""
        return max(10, self.windows // 10)


Tick = Callable[[], None]


def evaluate(
    arrays: Mapping[str, NDArray[Any]],
    *,
    layers: Sequence[str] | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    windows: int = 1000,
    measures: Sequence[Measure] = MEASURES,
    splits: int = 1,
    simulated_requests: int = SIMULATED_REQUESTS,
    progress: Progress | None = None,
) -> Evaluation:
    """Fit on ``baseline``, then measure on requests drawn from the other sets.

    Parameters
    ----------
    alpha : float
        Level of each window's test.
    windows : int
        Clean windows per size and contaminated windows per mixture; also scales streams and hours.
    measures : sequence of str
        Some of `MEASURES`: power of windows, run lengths of benign streams, delays of attacks,
        requests and hours.
    splits : int
        Above 1, run lengths are measured on this many random splits of the pooled rows of
        ``baseline`` and ``clean``, with the sizes of the file. Everything else is measured on the
        split of the file.
    simulated_requests : int
        Length of the simulated clean streams of each fit; fewer are faster, and leave thresholds
        less certain.
    """
    _check_options(measures, splits)
    sets = split_sets(arrays, layers)
    _check_rows({name: len(labels) for name, (_, labels) in sets.items() if name != "baseline"})
    fit = partial(fit_baseline, simulated_requests=simulated_requests)
    material = _material(fit(sets["baseline"], seed), sets, alpha, seed, windows)
    if splits > 1:
        drawn = Splits.draw(sets["baseline"], sets["clean"], splits, seed, fit)
        material = replace(material, splits=drawn)
    chosen = [measure for measure in MEASURES if measure in measures]
    total = sum(_STEPS[measure](material) for measure in chosen)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    figures: dict[str, Any] = {}
    for measure in chosen:
        figures |= _MEASURES[measure](material, tick)
    return Evaluation(**figures)


def _material(
    baseline: Baseline, sets: Mapping[str, Labelled], alpha: float, seed: int, windows: int
) -> _Material:
    rows = {name: baseline.rows(*sets[name]) for name in sets}
    features = {name: baseline.features(*rows[name]) for name in sets if name != "baseline"}
    return _Material(
        baseline,
        rows["baseline"][1],
        features.pop("clean"),
        Rows(*rows["clean"]),
        features,
        alpha,
        seed,
        windows,
    )


def _check_options(measures: Sequence[str], splits: int) -> None:
    if unknown := set(measures) - set(MEASURES):
        raise ActivationsError(
            f"unknown measures {', '.join(sorted(unknown))}; choose among {', '.join(MEASURES)}"
        )
    if splits < 1:
        raise ActivationsError(f"splits must be at least 1, not {splits}")
    if splits > 1 and "arl" not in measures:
        raise ActivationsError(
            f"{splits} splits only affect run lengths: add arl to the measures, or leave the "
            "splits out"
        )


def _check_rows(counts: Mapping[str, int]) -> None:
    """Refuse sets that are too small before the slow fit."""
    for name, count in counts.items():
        for size, share in MIXTURES:
            bad = 0 if name == "clean" else round(size * share)
            if size - bad > counts["clean"] or bad > count:
                raise ActivationsError(
                    f"windows of {size} need {size - bad} rows of 'clean' and {bad} of {name!r}; "
                    f"there are {counts['clean']} and {count}"
                )


def _sizes() -> list[int]:
    return list(dict.fromkeys(size for size, _ in sorted(MIXTURES)))


def _power(material: _Material, tick: Tick) -> dict[str, Any]:
    """False alarms and power of windows, and the AUROC of single requests."""
    m = material
    draws = Draws(m.baseline, m.clean, np.random.default_rng(m.seed + 1))
    apart = replace(draws, rng=np.random.default_rng([m.seed, 1]))

    def rejected(attack: Features, size: int, share: float) -> float:
        chosen = apart if (size, share) in WITH_OWN_DRAWS else draws
        p_values = [chosen.decide(attack, size, share).p_value for _ in range(m.windows)]
        tick()
        return float(np.mean(np.array(p_values) <= m.alpha))

    return {
        "false_alarm": {str(size): rejected(m.clean, size, 0.0) for size in _sizes()},
        "power": {
            name: {f"{size}@{share}": rejected(attack, size, share) for size, share in MIXTURES}
            for name, attack in m.others.items()
        },
        "auroc": {name: auroc(m.clean, attack) for name, attack in m.others.items()},
    }


def _run_lengths(material: _Material, tick: Tick) -> dict[str, Any]:
    m = material
    if m.splits is not None:
        figures = m.splits.run_lengths(m.windows, m.seed, tick)
    else:
        figures = run_lengths(m.baseline, m.clean, m.clean_rows, m.windows, m.seed, tick)
    return {"arl": figures.arl, "arl_detail": figures.detail}


def _delays(material: _Material, tick: Tick) -> dict[str, Any]:
    m = material
    found = {
        name: delays(m.baseline, m.clean, attack, m.repeats, m.seed, tick)
        for name, attack in m.attacks.items()
    }
    return {
        "delay": {name: figures.median for name, figures in found.items()},
        "delay_90": {name: figures.ninety for name, figures in found.items()},
        "delay_streams": {name: figures.streams for name, figures in found.items()},
    }


def _requests(material: _Material, tick: Tick) -> dict[str, Any]:
    """Calibration of p-values, contents of alarms, and hours."""
    m = material
    draws = Draws(m.baseline, m.clean, np.random.default_rng([m.seed, 5]))

    def ticked(value: Any) -> Any:
        tick()
        return value

    return {
        "calibration": {
            **request_calibration(m.baseline, m.clean, m.baseline_predicted),
            "windows": {
                str(size): ticked(window_calibration(draws, size, m.windows))
                for size in WINDOW_SIZES
            },
        },
        "pattern": {
            name: ticked(patterns(draws, rows, m.alpha, m.windows))
            for name, rows in m.others.items()
        },
        "suspects": {
            name: ticked(suspects(draws, rows, m.alpha, m.windows))
            for name, rows in m.attacks.items()
        },
        **_hours(m, tick),
    }


def _hours(material: _Material, tick: Tick) -> dict[str, Any]:
    m = material
    clean = without_residuals(m.clean)
    draws = Draws(m.baseline, clean, np.random.default_rng([m.seed, 6]))
    attacks = {name: without_residuals(rows) for name, rows in m.attacks.items()}
    requests = hour_requests(len(clean), attacks)
    flagged = clean_flagged(draws, requests, m.repeats)
    tick()

    def by_share(measure: HourMeasure, attack: Features, shares: Sequence[float]) -> dict[str, Any]:
        found = {}
        for share in shares:
            found[str(share)] = measure(draws, attack, share, requests, m.repeats)
            tick()
        return found

    return {
        "hour_requests": requests,
        "clean_flagged": flagged,
        "fdr": {name: by_share(discoveries, rows, FLAG_SHARES) for name, rows in attacks.items()},
        "contamination": {
            name: by_share(contaminations, rows, CONTAMINATIONS) for name, rows in attacks.items()
        },
    }


_MEASURES: dict[Measure, Callable[[_Material, Tick], dict[str, Any]]] = {
    "power": _power,
    "arl": _run_lengths,
    "delay": _delays,
    "requests": _requests,
}

_STEPS: dict[Measure, Callable[[_Material], int]] = {
    "power": lambda m: len(_sizes()) + len(m.others) * len(MIXTURES),
    "arl": lambda m: m.splits.steps() if m.splits else run_length_steps(m.clean.predicted),
    "delay": lambda m: len(m.attacks) * len(DELAY_SHARES),
    "requests": lambda m: (
        len(WINDOW_SIZES)
        + 1
        + len(m.others)
        + len(m.attacks) * (1 + len(FLAG_SHARES) + len(CONTAMINATIONS))
    ),
}


def auroc(clean: Features, attack: Features) -> float:
    """Probability that an attack's p-value is below a clean request's (ties count half)."""
    others, own = np.sort(clean.p_values[:, 0]), attack.p_values[:, 0]
    below, upto = (np.searchsorted(others, own, side) for side in ("left", "right"))
    return 1.0 - float((below + upto).mean()) / (2 * len(others))
