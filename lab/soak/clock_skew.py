"""``python -m latentwatch.lab.soak.clock_skew worker``: a worker whose wall clock can be set.

The variable ``LATENTWATCH_SOAK_CLOCK`` names a file with the error in seconds. It is read at each
call for the time. The effect is that of an administrator or a time server setting the clock: the
monotonic clock, which measures intervals, does not move.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["VARIABLE"]

VARIABLE = "LATENTWATCH_SOAK_CLOCK"

_time, _time_ns = time.time, time.time_ns


def _offset() -> float:
    try:
        return float(Path(os.environ[VARIABLE]).read_text())
    except (OSError, ValueError):
        return 0.0  # not set yet, or just being written


def _skew() -> None:
    """Replace the clock before anything is imported that may keep these functions by name."""
    time.time = lambda: _time() + _offset()
    time.time_ns = lambda: _time_ns() + int(_offset() * 1e9)


if __name__ == "__main__":
    _skew()
    from latentwatch.stream.cli.main import main

    main()
