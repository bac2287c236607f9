"""``latentwatch evaluate --against``: latentwatch and other methods on the same windows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentwatch.detector.evaluation.sets import SIMULATED_REQUESTS
from latentwatch.lab.peers import DEFAULT_PYTHON, PEERS, PeersError, Work, check, judge
from latentwatch.lab.peers.comparison import Comparison, Windows, figures, rates
from latentwatch.lab.peers.ladis import Ladis

__all__ = ["METHODS", "OURS", "against", "compare"]

OURS = "latentwatch"
ORIGINAL = "ladis"

METHODS = (ORIGINAL, *PEERS)
"""Methods to compare with."""

Progress = Callable[[str, int, int], None]


def against(
    arrays: Mapping[str, NDArray[Any]],
    methods: Sequence[str],
    *,
    layers: Sequence[str] | None = None,
    attacks: Sequence[str] | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    windows: int = 200,
    simulated_requests: int = SIMULATED_REQUESTS,
    python: Path = DEFAULT_PYTHON,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure false alarms and power of latentwatch and other methods on the same windows.

    Each method runs with its documented defaults on the chosen layers. Other methods get the layers
    concatenated and standardised (see `lab.peers.comparison`), and only as many baseline rows as
    `latentwatch.lab.peers.PEERS` allows.

    Parameters
    ----------
    arrays
        As for `detector.evaluate`.
    methods
        Some of `METHODS`; latentwatch is always included and comes first.
    attacks
        Sets on which to measure power; by default all except clean traffic and drift.
    alpha
        Level of each window's test. The others use 100 random draws per test: below 0.01 ladis and
        frouros reject nothing, and alibi still rejects at 0.01.
    windows
        Clean windows per size, and contaminated windows per mixture.
    python
        Interpreter with the other detectors.
    progress
        Called with the method, windows done and the total; first with 0 windows, before the fit.

    Returns
    -------
    dict of method to dict
        ``false_alarm`` by window size, ``power`` by attack and mixture; ``reference_rows``, the
        number of baseline rows used; ``windows`` of each kind; ``seconds``, for latentwatch without
        the fit and the feature map.

    Raises
    ------
    PeersError
        A method is unknown, its detector is not installed, or it failed.
    detector.ActivationsError
        Sets or layers are missing or too small.
    """
    _check_methods(methods, python)
    if progress is not None:
        progress(OURS, 0, 1)
    comparison = Comparison.fit(
        arrays,
        layers=layers,
        attacks=attacks,
        seed=seed,
        simulated_requests=simulated_requests,
    )
    return dict(
        compare(
            comparison,
            methods,
            alpha=alpha,
            seed=seed,
            windows=windows,
            python=python,
            progress=progress,
        )
    )


def compare(
    comparison: Comparison,
    methods: Sequence[str],
    *,
    alpha: float = 0.01,
    seed: int = 0,
    windows: int = 200,
    python: Path = DEFAULT_PYTHON,
    progress: Progress | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Like `against` with a fitted comparison; yields each method as soon as it is done.

    Results of slow methods are thus not lost if a later one fails.
    """
    _check_methods(methods, python)
    drawn = comparison.windows(windows, seed)
    run = _Run(comparison, drawn, alpha, seed, progress or _silent)
    yield OURS, run.timed(run.ours, len(comparison.reference))
    for method in dict.fromkeys(methods):
        if method == ORIGINAL:
            yield method, run.timed(run.ladis, len(comparison.reference))
        else:
            yield method, run.peer(method, python)


def _check_methods(methods: Sequence[str], python: Path) -> None:
    """Fail early, before anything slow."""
    for method in methods:
        if method not in METHODS:
            raise PeersError(f"unknown method {method!r}: choose among {', '.join(METHODS)}")
        if method != ORIGINAL:
            check(method, python)


def _silent(method: str, done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, eq=False)
class _Run:
    """The input that all methods share."""

    comparison: Comparison
    windows: list[Windows]
    alpha: float
    seed: int
    progress: Progress

    @property
    def total(self) -> int:
        return sum(len(one.rows) for one in self.windows)

    def timed(self, judge_all: Callable[[], list[float]], reference_rows: int) -> dict[str, Any]:
        """Figures of a method and the time they took."""
        started = time.perf_counter()
        rejected = judge_all()
        return {
            **figures(self.windows, rejected),
            "reference_rows": reference_rows,
            "windows": len(self.windows[0].rows),
            "seconds": time.perf_counter() - started,
        }

    def ours(self) -> list[float]:
        tick = self._ticking(OURS)
        return [rates(self.comparison.p_values(one, tick), self.alpha) for one in self.windows]

    def ladis(self) -> list[float]:
        tick = self._ticking(ORIGINAL)
        rng = np.random.default_rng([self.seed, 9])
        ladis = Ladis.fit(self.comparison.reference, self.comparison.reference_predicted)
        return [
            rates(self.comparison.ladis(one, ladis, rng, tick), self.alpha) for one in self.windows
        ]

    def peer(self, method: str, python: Path) -> dict[str, Any]:
        """Figures of a method that runs in a child process."""
        reference = self.comparison.reference_rows(PEERS[method].reference_rows, self.seed)
        rows = [row for one in self.windows for row in one.rows]
        work = Work(reference, self.comparison.rows, rows, self.alpha, self.seed)
        ends = np.cumsum([len(one.rows) for one in self.windows])

        def judge_all() -> list[float]:
            self.progress(method, 0, self.total)
            verdicts = judge(
                method,
                work,
                python=python,
                progress=lambda done, total: self.progress(method, done, total),
            )
            return [float(np.mean(part)) for part in np.split(verdicts.rejected, ends[:-1])]

        return self.timed(judge_all, len(reference))

    def _ticking(self, method: str) -> Callable[[], None]:
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            self.progress(method, done, self.total)

        self.progress(method, 0, self.total)
        return tick
