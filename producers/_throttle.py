"""Warnings that cannot flood the log of the service they run in."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("latentwatch.producers")


class ThrottledLog:
    """Writes each kind of warning at most once per `interval` seconds, with the count between."""

    def __init__(self, interval: float = 30.0) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._lock = threading.Lock()

    def warning(self, kind: str, message: str) -> None:
        """Log the message, unless one of its kind was logged a moment ago."""
        with self._lock:
            now = time.monotonic()
            if kind in self._last and now - self._last[kind] < self._interval:
                self._held_back[kind] = self._held_back.get(kind, 0) + 1
                return
            self._last[kind] = now
            held_back = self._held_back.pop(kind, 0)
        more = f" ({held_back} more like this before)" if held_back else ""
        logger.warning("%s%s", message, more)
