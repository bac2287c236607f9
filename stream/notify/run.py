"""Runs one follower per target, each at its own pace."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence

from aiokafka.errors import KafkaError

from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.notify.follow import Follower
from latentwatch.stream.notify.retry import Pause, Retry
from latentwatch.stream.notify.targets import Target
from latentwatch.stream.settings import Settings

__all__ = ["notify", "pause_until"]


def pause_until(stop: asyncio.Event) -> Pause:
    """A pause that ends early, and returns True, once an event is set."""

    async def pause(seconds: float) -> bool:
        if seconds > 0 and not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), seconds)
            except TimeoutError:
                return False
        return stop.is_set()

    return pause


async def notify(settings: Settings, targets: Sequence[Target], rng: random.Random) -> None:
    """Notify until SIGINT or SIGTERM; deliveries in progress are finished.

    Raises
    ------
    BrokerError
        The broker failed; a new process continues where this one stopped.
    TopicError
        The alerts topic does not exist.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    retry = Retry(pause_until(stop), rng)
    followers = [Follower(settings, target, retry) for target in targets]
    try:
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.run())
    except ExceptionGroup as errors:
        raise _explained(errors.exceptions[0], settings) from errors


def _explained(error: Exception, settings: Settings) -> Exception:
    """The error to show: one of ours where we know what to do about it."""
    if isinstance(error, KafkaError):
        return BrokerError(
            f"the broker at {settings.bootstrap_servers} failed ({error!r}): start again to "
            "continue after the last delivered notification"
        )
    return error
