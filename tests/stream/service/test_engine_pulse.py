"""A worker that was suspended for longer than its session must not continue."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from latentwatch.stream.core.errors import StreamError, SuspendedError
from latentwatch.stream.service import engine as engine_module
from latentwatch.stream.service.engine import SESSION_SECONDS, SUSPENDED_SECONDS, Engine
from latentwatch.stream.settings import Settings

Clock = Callable[[float], None]


@pytest.fixture
def engine() -> Engine:
    """An engine that has not met Kafka yet."""
    return Engine(Settings(bootstrap_servers="127.0.0.1:1"))


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still but for what a test lets pass."""
    now = [1000.0]

    def forward(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(engine_module.time, "clock_gettime", lambda _: now[0])
    return forward


def test_a_pulse_every_second_goes_on_for_ever(engine: Engine, pass_time: Clock) -> None:
    for _ in range(100):
        engine.pulse()
        pass_time(1.0)


def test_who_was_never_asked_has_not_stood_still(engine: Engine, pass_time: Clock) -> None:
    pass_time(1e6)
    engine.pulse()


def test_up_to_the_limit_a_slow_batch_is_a_slow_batch(engine: Engine, pass_time: Clock) -> None:
    engine.pulse()
    pass_time(SUSPENDED_SECONDS)
    engine.pulse()


def test_who_slept_for_longer_ends_and_says_for_how_long(engine: Engine, pass_time: Clock) -> None:
    engine.pulse()
    pass_time(12.0)
    with pytest.raises(SuspendedError, match="suspended for 12 s"):
        engine.pulse()


def test_it_stays_ended_however_often_it_is_asked(engine: Engine, pass_time: Clock) -> None:
    engine.pulse()
    pass_time(SESSION_SECONDS)
    for _ in range(3):
        with pytest.raises(SuspendedError):
            engine.pulse()


def test_the_limit_lies_within_the_session_less_one_heartbeat() -> None:
    assert SUSPENDED_SECONDS <= SESSION_SECONDS - SESSION_SECONDS / 4


def test_nothing_is_taken_in_or_closed_after_it(engine: Engine, pass_time: Clock) -> None:
    engine.pulse()
    pass_time(SESSION_SECONDS)
    with pytest.raises(SuspendedError):
        asyncio.run(engine.take([]))
    with pytest.raises(SuspendedError):
        asyncio.run(engine.close_idle({0}))


def test_a_wall_clock_closes_nothing_for_who_is_no_member(requests: Any) -> None:
    async def silent(member: bool) -> None:
        engine = Engine(Settings(bootstrap_servers="127.0.0.1:1", idle_seconds=0.01))

        async def is_member() -> bool:
            return member

        engine._processor.assign(0, [])
        engine._processor.take([requests.incoming(0, 0, 40)])
        await engine.close_idle({0}, is_member)
        await asyncio.sleep(0.02)
        await engine.close_idle({0}, is_member)
        assert engine._processor.pending()

    asyncio.run(silent(member=False))
    # a member tells what it closes, or would if there were a Kafka
    with pytest.raises(KafkaConnectionError):
        asyncio.run(silent(member=True))


def test_after_an_error_nothing_more_is_taken_in(engine: Engine) -> None:
    async def twice() -> None:
        # there is no broker: it fails while it reads what came before
        with pytest.raises(KafkaConnectionError):
            await engine.take_parts(0, 7, [b"anything"])
        with pytest.raises(StreamError, match="an earlier batch failed"):
            await engine.take_parts(0, 7, [b"anything"])

    asyncio.run(twice())
