"""Child processes that can be killed, paused and stopped, and do not outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from latentwatch.stream.processes import guard

__all__ = ["Child"]

STOP_SECONDS = 20.0


class Child:
    """A Python program under the guard of `stream.processes.guard`, in its own process group.

    In a ``with`` block it is stopped at the end.

    Parameters
    ----------
    arguments : sequence of str
        Of the Python interpreter.
    log : Path
        Where its standard output and standard error go.
    environment : mapping of str to str, optional
        Variables in addition to those of this process.
    append : bool
        Whether to append to the log; it is replaced by default.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        append: bool = False,
    ) -> None:
        self.log = log
        self._started = time.monotonic()
        with log.open("ab" if append else "wb") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, "", sys.executable, *arguments],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,  # its lifeline
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we stop it when we are ready
            )

    @classmethod
    def of_latentwatch(
        cls,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        append: bool = False,
        module: str = "latentwatch",
    ) -> Self:
        """Start ``python -m latentwatch`` with arguments, ``["worker"]`` for example."""
        return cls(["-m", module, *arguments], log, environment, append=append)

    @property
    def guard_pid(self) -> int:
        """Process id of the guard, the parent of the program itself."""
        return self._guard.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet; a paused child is still running."""
        return self._guard.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, None while it runs; 128 plus the signal if a signal ended it."""
        return self._guard.poll()

    @property
    def age_seconds(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._started

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it ends by itself; return its exit code.

        Raises
        ------
        subprocess.TimeoutExpired
            It is still running after `seconds`.
        """
        code = self._guard.wait(seconds)
        self._close()
        return code

    def kill(self) -> None:
        """Kill it without a chance to clean up, as a power cut does (SIGKILL)."""
        self._signal(signal.SIGKILL)
        self._guard.wait()
        self._close()

    def pause(self) -> None:
        """Suspend it, as an overloaded machine does (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it after a pause (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM), and do not wait for it."""
        self._guard.terminate()

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end, even if it is paused, and kill it if it does not; return its exit code."""
        self.resume()
        self.terminate()
        try:
            self._guard.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close()
        return self._guard.wait()

    def tail(self, most: int = 2000) -> str:
        """Return the end of its log, `most` characters of it."""
        return self.log.read_text(errors="replace")[-most:]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            with suppress(ProcessLookupError):
                os.killpg(self._guard.pid, number)

    def _close(self) -> None:
        if self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.close()
