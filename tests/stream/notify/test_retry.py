"""Failed deliveries are retried after growing pauses, until one succeeds or the process stops."""

import asyncio
import random
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.retry import Retry, delays
from latentwatch.stream.notify.run import pause_until
from latentwatch.stream.notify.targets import WebhookTarget


def test_delays_double_up_to_a_bound_and_chance_shortens_them() -> None:
    found = list(islice(delays(random.Random(1), first=1.0, most=20.0), 8))
    bounds = [1, 2, 4, 8, 16, 20, 20, 20]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(found, bounds, strict=True))
    assert found[-1] != found[-2]
    assert found == list(islice(delays(random.Random(1), first=1.0, most=20.0), 8))


class Pauses:
    """Records the pauses; reports after `most` of them that the process stops."""

    def __init__(self, most: int = 99) -> None:
        self.seconds: list[float] = []
        self._most = most

    async def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return len(self.seconds) > self._most


def deliver(server: Any, pauses: Pauses, notification: Notification) -> tuple[bool, list[Any]]:
    target = WebhookTarget("hook", f"http://{server.address}", b"secret", timeout_seconds=0.3)
    retry = Retry(pauses, random.Random(1))
    with capture_logs() as logs:
        attempt = lambda: target.send(notification)  # noqa: E731
        delivered = asyncio.run(retry.until_delivered(attempt, structlog.get_logger()))
    return delivered, logs


def test_a_server_that_fails_and_hangs_is_notified_in_the_end(
    server: Any, state: Callable[..., AlertState]
) -> None:
    server.answers = [500, "hang", 503]
    pauses = Pauses()
    delivered, logs = deliver(server, pauses, Notification(state()))
    assert delivered
    assert len(server.received) == 4
    assert len({received.body for received in server.received}) == 1
    assert pauses.seconds == list(islice(delays(random.Random(1)), 3))
    assert [log["reason"] for log in logs] == [
        "the server responded with status 500",
        "no response within 0.3 s",
        "the server responded with status 503",
    ]


def test_long_trouble_is_logged_as_an_error(server: Any, state: Callable[..., AlertState]) -> None:
    server.answers = [500] * 12
    delivered, logs = deliver(server, Pauses(), Notification(state()))
    assert delivered
    levels = [log["log_level"] for log in logs]
    assert levels == sorted(levels, reverse=True)
    assert set(levels) == {"warning", "error"}


def test_a_process_that_stops_does_not_retry(server: Any, state: Callable[..., AlertState]) -> None:
    server.answers = [500] * 9
    delivered, _ = deliver(server, Pauses(most=2), Notification(state()))
    assert not delivered
    assert len(server.received) == 3


@pytest.mark.timeout(5)
def test_a_pause_ends_as_soon_as_the_process_stops() -> None:
    async def scenario() -> list[bool]:
        stop = asyncio.Event()
        pause = pause_until(stop)
        before = [await pause(0), await pause(0.01)]
        asyncio.get_running_loop().call_later(0.01, stop.set)
        return [*before, await pause(60), await pause(0)]

    assert asyncio.run(scenario()) == [False, False, True, True]
