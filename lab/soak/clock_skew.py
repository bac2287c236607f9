"""``python -m latentwatch.lab.soak.clock_skew worker``: a worker whose wall clock can be set.

The variable ``LATENTWATCH_SOAK_CLOCK`` names a file with the seconds by which it is wrong, read
again each time somebody asks for the time. That is what an administrator or a time server does
who sets the clock: the monotonic clock, which intervals are measured with, does not move.
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


def _shift() -> None:
    """Before anything else is imported: others may keep the functions by name."""
    time.time = lambda: _time() + _offset()
    time.time_ns = lambda: _time_ns() + int(_offset() * 1e9)


if __name__ == "__main__":
    _shift()
    from latentwatch.stream.cli.main import main

    main()
