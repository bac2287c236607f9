"""Commands of latentwatch as child processes, which do not outlive the demo."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from latentwatch.stream.processes import guard
from latentwatch.stream.settings import Settings

__all__ = ["guarded"]

STOP_SECONDS = 20.0


@contextmanager
def guarded(
    arguments: Sequence[str], settings: Settings, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``latentwatch`` with arguments and settings; ask it to end in the end.

    Parameters
    ----------
    arguments : sequence of str
    settings : Settings
    log : Path
        What it writes; replaced.
    """
    command = [sys.executable, "-m", "latentwatch", *arguments]
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, guard.__file__, "", *command],
            env={**os.environ, **settings.environment()},
            stdin=subprocess.PIPE,  # its lifeline
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach it through us, after the player stopped
        )
    with child:
        try:
            yield child
        finally:
            # the guard asks it to end, and kills it if it does not; at the end of its input at last
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)
