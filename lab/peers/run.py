"""Runs the other detectors in their own interpreter and reads their verdicts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentwatch.stream.core.errors import StreamError

__all__ = [
    "DEFAULT_PYTHON",
    "PEERS",
    "Peer",
    "PeersError",
    "Verdicts",
    "Work",
    "check",
    "judge",
]

DEFAULT_PYTHON = Path(".venv-peers/bin/python")
"""The interpreter with the other detectors, relative to the current folder."""

LINES_SHOWN = 12
CHECK_SECONDS = 60.0

# Waiting threads must not spin: on a busy machine alibi-detect would take ten times as long per
# window. The figures are the same.
_QUIET = {"OMP_WAIT_POLICY": "PASSIVE"}

_SCRIPT = Path(__file__).with_name("script.py")
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_PROGRESS = re.compile(r"window (\d+) of (\d+)\n")


class PeersError(StreamError):
    """Another detector is unknown, not installed, or failed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the other detectors.

    Parameters
    ----------
    title : str
        Name and version, for a table.
    reference_rows : int
        Most baseline rows it gets, chosen at random, because the cost of a window is quadratic in
        them. With 5,000 rows alibi-detect takes 12 to 18 seconds per window on two cores, with
        1,000 about half a second; frouros takes as long with 500.
    """

    title: str
    reference_rows: int


PEERS = {
    "alibi": Peer("alibi-detect 0.13.0 MMDDrift", 1_000),
    "frouros": Peer("frouros 0.9.0 MMD", 500),
    "frouros-median": Peer("frouros 0.9.0 MMD, median bandwidth", 500),
    "mmd-permutation": Peer("MMD, permutation test", 1_000),
}
"""Methods of `judge`; the last one only needs an interpreter with numpy."""


@dataclass(frozen=True, eq=False)
class Work:
    """Input of a detector.

    Parameters
    ----------
    reference : float32 [m, d]
        Rows of the baseline.
    rows : float32 [R, d]
        Rows from which windows are built.
    windows : sequence of int64 [n]
        Row numbers of each window.
    alpha : float
        Level of each window's test.
    seed : int
    """

    reference: NDArray[np.float32]
    rows: NDArray[np.float32]
    windows: Sequence[NDArray[np.int64]]
    alpha: float
    seed: int

    def save(self, path: Path) -> None:
        """Write the file that ``script.py`` reads."""
        np.savez(
            path,
            reference=self.reference,
            rows=self.rows,
            index=np.concatenate(list(self.windows)),
            sizes=np.array([len(window) for window in self.windows], dtype=np.int64),
            alpha=np.array(self.alpha),
            seed=np.array(self.seed),
        )


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Output of a detector: p-values float64 [W], and whether it reports each window, bool [W]."""

    p_values: NDArray[np.float64]
    rejected: NDArray[np.bool_]


def check(method: str, python: Path = DEFAULT_PYTHON) -> None:
    """Raise a `PeersError` with advice if the interpreter lacks what a method needs."""
    if method not in PEERS:
        raise PeersError(f"unknown method {method!r}: choose among {', '.join(PEERS)}")
    try:
        done = subprocess.run(
            [str(python), "-I", str(_SCRIPT), "check", method],
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeersError(f"{python} cannot be run ({error}); {_how_to_install()}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise PeersError(f"{python} cannot judge by {method!r}: {last}; {_how_to_install()}")


def judge(
    method: str,
    work: Work,
    *,
    python: Path = DEFAULT_PYTHON,
    progress: Callable[[int, int], None] | None = None,
) -> Verdicts:
    """Let one of the `PEERS` judge windows, in a child process.

    Parameters
    ----------
    python
        Interpreter with the detector.
    progress
        Called after each window with the number of windows done and the total.

    Raises
    ------
    PeersError
        The interpreter or the detector is missing, or it failed; the message then ends with its
        last output.
    """
    check(method, python)
    with tempfile.TemporaryDirectory(prefix="latentwatch-peers-") as folder:
        given, verdicts = Path(folder, "work.npz"), Path(folder, "verdicts.npz")
        work.save(given)
        _run([str(python), "-I", str(_SCRIPT), method, str(given), str(verdicts)], progress)
        with np.load(verdicts) as found:
            return Verdicts(found["p_values"], found["rejected"])


def _run(command: list[str], progress: Callable[[int, int], None] | None) -> None:
    """Run a command to its end, in its own session so that its children can be ended with it."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | _QUIET,
        start_new_session=True,
    )
    said: deque[str] = deque(maxlen=LINES_SHOWN)
    with process:
        try:
            for line in process.stdout or ():
                if done := _PROGRESS.fullmatch(line):
                    if progress is not None:
                        progress(int(done[1]), int(done[2]))
                else:
                    said.append(line)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise PeersError(
            f"the peer failed with status {process.returncode}: "
            f"{''.join(said).strip() or 'no output'}"
        )


def _how_to_install() -> str:
    return (
        f"prepare a Python 3.11 environment: python3.11 -m venv {DEFAULT_PYTHON.parent.parent} && "
        f"{DEFAULT_PYTHON.with_name('pip')} install -r {os.path.relpath(_REQUIREMENTS)}"
    )
