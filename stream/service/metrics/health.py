"""Health of a worker: judged by its progress, not by its presence.

Pure but for the state it holds: times are arguments, in seconds of a monotonic clock.
The event loop writes and the threads of the web server read; each field is replaced as a whole,
so that no lock is needed and a reader never waits for a busy worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

__all__ = ["Health", "Verdict"]

LOADING_PATIENCE = 10.0
"""How many times longer than usual the state of a partition may take to be read: it may be large,
and a restart would only begin the reading again."""


class Verdict(NamedTuple):
    """An answer, and the reason for it."""

    ok: bool
    reason: str


class Health:
    """See the module.

    Parameters
    ----------
    stuck_seconds : float
        A worker that has messages waiting and processes none for so long is stuck.
    now : float
        The present.
    """

    def __init__(self, stuck_seconds: float, now: float) -> None:
        self.stuck_seconds = stuck_seconds
        self.lags: Mapping[int, int] = {}
        self.loaded: Set[int] = frozenset()
        self._looked: float | None = None
        self._started = now
        # when messages began to wait without any being processed since; None where none waits
        self._waiting_since: float | None = None
        self._loading = False

    def look(self, lags: Mapping[int, int], loaded: Set[int], now: float) -> None:
        """Record lags and loaded partitions; call it every second or so.

        Parameters
        ----------
        lags : mapping of partition to int
            Lag of each assigned partition; empty while none is assigned.
        loaded : set of int
            Partitions whose state is loaded.
        """
        self.lags, self.loaded, self._looked = dict(lags), frozenset(loaded), now
        if not any(lags.values()):
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now

    def progress(self, now: float) -> None:
        """Take note that messages were processed."""
        if self._waiting_since is not None:
            self._waiting_since = now

    def load(self, loading: bool, now: float) -> None:
        """Take note that reading the state of a partition begins or ends."""
        self._loading = loading
        self.progress(now)

    def waited(self, now: float) -> float:
        """Seconds for which messages have been waiting and none was processed."""
        since = self._waiting_since
        return 0.0 if since is None else max(now - since, 0.0)

    def alive(self, now: float) -> Verdict:
        """Whether it makes progress; if not, a restart helps."""
        looked = self._looked
        if looked is None:
            return Verdict(True, f"starting for {now - self._started:.0f} s")
        if now - looked >= self.stuck_seconds:
            return Verdict(False, f"the event loop has been blocked for {now - looked:.0f} s")
        patience = self.stuck_seconds * (LOADING_PATIENCE if self._loading else 1.0)
        waited, lag = self.waited(now), sum(self.lags.values())
        if waited >= patience:
            return Verdict(False, f"{lag} messages waiting, none processed for {waited:.0f} s")
        return Verdict(True, f"{lag} messages waiting")

    def ready(self, now: float) -> Verdict:
        """Whether it watches partitions: alive, with some assigned and all their states loaded."""
        alive = self.alive(now)
        if not alive.ok:
            return alive
        if not self.lags:
            return Verdict(False, "no partition is assigned")
        if missing := sorted(set(self.lags) - self.loaded):
            names = ", ".join(map(str, missing))
            return Verdict(False, f"the state of partitions {names} is not loaded yet")
        return Verdict(True, f"watching {len(self.lags)} partitions")
