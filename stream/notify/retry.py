"""Retries a delivery until it succeeds: exponential back-off with jitter, and no giving up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from latentwatch.stream.notify.targets import DeliveryError

__all__ = ["Pause", "Retry", "delays"]

Pause = Callable[[float], Awaitable[bool]]
"""Waits for some seconds; returns True, and at once, when the process is about to stop."""

TROUBLED_SECONDS = 300.0
"""Of waiting, after which failures are logged as errors instead of warnings."""


def delays(rng: random.Random, first: float = 1.0, most: float = 300.0) -> Iterator[float]:
    """Seconds to wait before each retry: the bound doubles, and half of each delay is random.

    The random half keeps many senders from returning to a server at the same moment.
    """
    bound = first
    while True:
        yield bound * (0.5 + 0.5 * rng.random())
        bound = min(2 * bound, most)


@dataclass(frozen=True)
class Retry:
    """How deliveries to one target are retried.

    Parameters
    ----------
    pause : callable
    rng : random.Random
    first_seconds, most_seconds : float
        Bounds of the first delay, and of all delays.
    """

    pause: Pause
    rng: random.Random = field(repr=False)
    first_seconds: float = 1.0
    most_seconds: float = 300.0

    async def until_delivered(
        self, deliver: Callable[[], Awaitable[None]], log: structlog.typing.FilteringBoundLogger
    ) -> bool:
        """Try until there is no `DeliveryError`; False if the process stops first."""
        seconds = delays(self.rng, self.first_seconds, self.most_seconds)
        stopping = False

        async def pause(delay: float) -> None:
            nonlocal stopping
            stopping = await self.pause(delay)

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(DeliveryError),
            wait=lambda _: next(seconds),
            sleep=pause,
            before_sleep=lambda state: _log_failure(state, log),
        )
        async for attempt in attempts:
            if stopping:
                return False
            with attempt:
                await deliver()
        return True


def _log_failure(state: RetryCallState, log: structlog.typing.FilteringBoundLogger) -> None:
    waited = state.idle_for - state.upcoming_sleep
    write = log.error if waited >= TROUBLED_SECONDS else log.warning
    reason = state.outcome.exception() if state.outcome else None
    write("not delivered", reason=str(reason), next_try_seconds=round(state.upcoming_sleep, 1))
