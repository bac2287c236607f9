"""Judges windows with another drift detector, in the Python environment of `lab.peers.run`.

    PYTHON script.py check METHOD
    PYTHON script.py METHOD WORK.npz VERDICTS.npz

Stand-alone: it only imports the standard library, numpy and the requested detector. After each
window it prints a line ``window 12 of 240``.

WORK.npz holds ``reference`` float32 [m, d] and ``rows`` float32 [R, d]; windows as concatenated
row numbers ``index`` int64 and their ``sizes`` int64 [W]; ``alpha`` and ``seed``.
VERDICTS.npz holds ``p_values`` float64 [W], and ``rejected`` bool [W] by each detector's own rule.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Matrix = NDArray[np.float64]
Judge = Callable[[Rows], "tuple[float, bool]"]
"""P-value of a window [n, d], and whether the detector would report it."""

PERMUTATIONS = 199
"""Permutations of the textbook test: p-values of 0.005 and above."""

FROUROS_PERMUTATIONS = 100
"""frouros has no default; its multivariate example, at level 0.01, uses 100."""


def alibi(reference: Rows, alpha: float, seed: int) -> Judge:
    """MMDDrift of alibi-detect on PyTorch, with everything at its default.

    One Gaussian kernel of the median bandwidth of the reference, 100 permutations. Its p-value is
    the share of permutations that reach the observed value and may be 0. It reports drift if that
    is below `alpha`. The share is in single precision, where 1 of 100 is below 0.01: at
    that level clean windows are reported with a probability of 2/101.
    """
    import torch
    from alibi_detect.cd import MMDDrift  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    detector = MMDDrift(reference, backend="pytorch", p_val=alpha)

    def judge(window: Rows) -> tuple[float, bool]:
        found = detector.predict(window)["data"]
        return float(found["p_val"]), bool(found["is_drift"])

    return judge


def frouros(reference: Rows, alpha: float, seed: int) -> Judge:
    """MMD of frouros with its default kernel, a Gaussian of bandwidth 1 for any data."""
    return _frouros(reference, 1.0, alpha, seed)


def frouros_median(reference: Rows, alpha: float, seed: int) -> Judge:
    """MMD of frouros with half the median distance as bandwidth, as its example recommends.

    The example takes the median over both samples; here it is computed once, on the reference.
    """
    from scipy.spatial.distance import pdist

    return _frouros(reference, float(np.median(pdist(reference))) / 2.0, alpha, seed)


class _Kernel:
    """Kernel values between the current rows, looked up by row number.

    frouros evaluates its kernel again in every permutation, in processes that it forks for every
    window. Inheriting precomputed values gives the same figures several times faster.
    """

    values: ClassVar[Matrix] = np.empty((0, 0))

    @staticmethod
    def look_up(first: NDArray[Any], second: NDArray[Any]) -> Matrix:
        """Kernel [n, m] between row numbers [n, 1] and [m, 1]."""
        return _Kernel.values[first, second[:, 0]]


def _frouros(reference: Rows, bandwidth: float, alpha: float, seed: int) -> Judge:
    from frouros.callbacks import (  # type: ignore[import-not-found]
        PermutationTestDistanceBased,
    )
    from frouros.detectors.data_drift import MMD  # type: ignore[import-not-found]
    from frouros.utils.kernels import rbf_kernel  # type: ignore[import-not-found]

    multiprocessing.set_start_method("fork", force=True)
    test = PermutationTestDistanceBased(FROUROS_PERMUTATIONS, random_state=seed, name="test")
    detector = MMD(kernel=_Kernel.look_up, callbacks=test)
    within = rbf_kernel(reference, reference, sigma=bandwidth)
    m = len(reference)
    _Kernel.values = within
    detector.fit(X=np.arange(m)[:, None])

    def judge(window: Rows) -> tuple[float, bool]:
        across = rbf_kernel(reference, window, sigma=bandwidth)
        own = rbf_kernel(window, window, sigma=bandwidth)
        _Kernel.values = np.block([[within, across], [across.T, own]])
        test.random_state += 1
        _, logs = detector.compare(X=np.arange(m, m + len(window))[:, None])
        p_value = float(logs["test"]["p_value"])
        return p_value, p_value < alpha

    return judge


def mmd_permutation(reference: Rows, alpha: float, seed: int) -> Judge:
    """The textbook test: squared MMD, one Gaussian kernel, a permutation test; only needs numpy.

    The bandwidth is the median distance within the reference; the p-value is never 0.
    """
    rng = np.random.default_rng(seed)
    within = squared_distances(reference, reference)
    scale = 2.0 * float(np.median(within[np.triu_indices(len(reference), 1)]))
    kernel = np.exp(-within / scale)

    def judge(window: Rows) -> tuple[float, bool]:
        if len(window) < 2:
            raise ValueError("a window of fewer than two rows cannot be tested")
        across = np.exp(-squared_distances(reference, window) / scale)
        own = np.exp(-squared_distances(window, window) / scale)
        values = mmd_of_permutations(
            np.block([[kernel, across], [across.T, own]]), len(window), rng
        )
        p_value = float(np.mean(values >= values[0]))
        return p_value, p_value <= alpha

    return judge


def squared_distances(first: Rows, second: Rows) -> Matrix:
    """Squared distances [n, m] between rows [n, d] and [m, d]."""
    x, y = first.astype(np.float64), second.astype(np.float64)
    lengths = np.sum(x * x, axis=1)[:, None] + np.sum(y * y, axis=1)
    return np.asarray(np.maximum(lengths - 2.0 * (x @ y.T), 0.0))


def mmd_of_permutations(kernel: Matrix, size: int, rng: np.random.Generator) -> Matrix:
    """Unbiased squared MMD of the last `size` rows against the rest, then of random splits."""
    total = len(kernel)
    member = np.zeros((total, 1 + PERMUTATIONS))
    member[total - size :, 0] = 1.0
    for split in range(1, 1 + PERMUTATIONS):
        member[rng.permutation(total)[:size], split] = 1.0
    kernel = kernel - np.diag(np.diag(kernel))
    sums = kernel @ member
    window = np.sum(member * sums, axis=0)
    across = np.sum(sums, axis=0) - window
    rest = np.sum(kernel) - window - 2.0 * across
    others = total - size
    within = window / (size * (size - 1)) + rest / (others * (others - 1))
    return np.asarray(within - 2.0 * across / (size * others))


METHODS: dict[str, tuple[Callable[[Rows, float, int], Judge], tuple[str, ...]]] = {
    "alibi": (alibi, ("alibi_detect", "torch")),
    "frouros": (frouros, ("frouros",)),
    "frouros-median": (frouros_median, ("frouros",)),
    "mmd-permutation": (mmd_permutation, ()),
}
"""Factory of each judge, and the packages it needs."""


def missing(method: str) -> list[str]:
    """Packages of a method that this interpreter lacks."""
    return [name for name in METHODS[method][1] if importlib.util.find_spec(name) is None]


def judge_all(method: str, work: str, verdicts: str) -> None:
    """Judge every window of a work file."""
    with np.load(work) as given:
        reference, rows = given["reference"], given["rows"]
        ends = np.cumsum(given["sizes"])
        windows = np.split(given["index"], ends[:-1])
        alpha, seed = float(given["alpha"]), int(given["seed"])
    judge = METHODS[method][0](reference, alpha, seed)
    p_values, rejected = np.empty(len(windows)), np.empty(len(windows), dtype=bool)
    for number, window in enumerate(windows):
        p_values[number], rejected[number] = judge(rows[window])
        sys.stdout.write(f"window {number + 1} of {len(windows)}\n")
        sys.stdout.flush()
    np.savez(verdicts, p_values=p_values, rejected=rejected)


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if arguments[0] == "check":
        absent = missing(arguments[1])
        sys.exit(f"not installed: {', '.join(absent)}" if absent else 0)
    judge_all(*arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
