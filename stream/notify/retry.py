"""Tries again until it works: exponential back-off with jitter, and nothing is given up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog

from latentwatch.stream.notify.targets import DeliveryError

__all__ = ["Pause", "Retry", "delays"]

Pause = Callable[[float], Awaitable[bool]]
"""Waits so many seconds; True if the process is to end, at once when that becomes known."""

TROUBLED_SECONDS = 300.0
"""Of waiting, after which failures are errors in the log, no longer warnings."""


def delays(rng: random.Random, first: float = 1.0, most: float = 300.0) -> Iterator[float]:
    """Seconds before the next tries: doubled each time, half of each left to chance.

    Chance keeps many senders from coming back to a server together.
    """
    bound = first
    while True:
        yield bound * (0.5 + 0.5 * rng.random())
        bound = min(2 * bound, most)


@dataclass(frozen=True)
class Retry:
    """How one target is tried again.

    Parameters
    ----------
    pause : callable
    rng : random.Random
    first_seconds, most_seconds : float
        Bounds of the first delay, and of all.
    """

    pause: Pause
    rng: random.Random = field(repr=False)
    first_seconds: float = 1.0
    most_seconds: float = 300.0

    async def until_delivered(
        self, attempt: Callable[[], Awaitable[None]], log: structlog.typing.FilteringBoundLogger
    ) -> bool:
        """Attempt until there is no `DeliveryError`; False if the process is to end before."""
        waited = 0.0
        for delay in delays(self.rng, self.first_seconds, self.most_seconds):
            try:
                await attempt()
                return True
            except DeliveryError as error:
                write = log.error if waited >= TROUBLED_SECONDS else log.warning
                write("not delivered", reason=str(error), next_try_seconds=round(delay, 1))
            if await self.pause(delay):
                return False
            waited += delay
        raise AssertionError("delays do not end")
