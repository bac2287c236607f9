"""Workers and players as child processes, which can be killed and paused, and do not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from latentwatch.stream.processes import guard

__all__ = ["Child"]

STOP_SECONDS = 20.0


class Child:
    """A command under the guard of `stream.processes.guard`, in a process group of its own.

    Parameters
    ----------
    command : sequence of str
        Arguments of the Python interpreter.
    log : Path
        What it writes; replaced.
    environment : mapping of str to str
        Beside ours.
    """

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self._guard = subprocess.Popen(
                [sys.executable, guard.__file__, "", sys.executable, *command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,  # its lifeline
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; a paused one runs."""
        return self._guard.poll() is None

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        return self._guard.wait()

    def kill(self) -> None:
        """End it without a chance to clean up, as a power cut does."""
        self._signal(signal.SIGKILL)
        self._guard.wait()
        self._close()

    def pause(self) -> None:
        """Stop it where it stands, as an overloaded machine does."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end, paused or not; kill it if it does not."""
        self.resume()
        self._guard.terminate()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()

    def said(self, most: int = 2000) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-most:]

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._guard.pid, number)

    def _close(self) -> None:
        if self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.close()
