"""When a recorded message is due; no clock in here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(slots=True)
class Pace:
    """Keeps the distances of event times, divided by a speed.

    Parameters
    ----------
    speed : float or None
        1 is the original pace, 60 an hour a minute; None as fast as it goes.
    """

    speed: float | None
    _start_ns: int | None = None
    _started: float = 0.0

    def wait(self, event_time_ns: int, now: float) -> float:
        """Seconds from `now` until a message is due; 0 if it is late."""
        if self.speed is None:
            return 0.0
        if self._start_ns is None:
            self._start_ns, self._started = event_time_ns, now
        due = self._started + (event_time_ns - self._start_ns) / 1e9 / self.speed
        return max(0.0, due - now)
