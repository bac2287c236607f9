import pytest

from latentwatch.stream.service.metrics.health import LOADING_PATIENCE, Health

STUCK = 20.0


@pytest.fixture
def health() -> Health:
    """A worker that watches partitions 0 and 1 and has nothing to do."""
    health = Health(STUCK, now=0.0)
    health.look({0: 0, 1: 0}, {0, 1}, now=1.0)
    return health


def look_until(health: Health, end: int, lag: int, start: int = 2) -> None:
    for now in range(start, end + 1):
        health.look({0: lag, 1: 0}, {0, 1}, now=float(now))


def test_a_worker_that_starts_is_alive_and_not_ready() -> None:
    health = Health(STUCK, now=0.0)
    assert health.alive(5.0) == (True, "starting for 5 s")
    assert health.ready(5.0) == (False, "no partition is assigned")


def test_silence_of_any_length_is_no_fault(health: Health) -> None:
    look_until(health, 500, lag=0)
    assert health.alive(500.0).ok
    assert health.ready(500.0) == (True, "watching 2 partitions")


def test_a_message_after_a_long_silence_is_given_its_time(health: Health) -> None:
    look_until(health, 500, lag=0)
    look_until(health, 519, lag=1, start=501)
    assert health.alive(519.0).ok


def test_a_stuck_worker_is_seen_within_half_a_minute_of_its_last_progress(health: Health) -> None:
    health.progress(2.0)
    look_until(health, 22, lag=7)
    assert health.alive(21.0).ok
    assert health.alive(22.0) == (False, "7 messages waiting, none processed for 20 s")
    assert health.ready(22.0) == health.alive(22.0)


def test_a_worker_that_lags_and_gets_on_is_alive(health: Health) -> None:
    for now in range(2, 300):
        health.look({0: 1000 + now, 1: 0}, {0, 1}, now=float(now))
        if now % 15 == 0:
            health.progress(float(now))
        assert health.alive(float(now)).ok


def test_it_recovers_when_messages_are_processed_again(health: Health) -> None:
    look_until(health, 60, lag=7)
    assert not health.alive(60.0).ok
    health.progress(61.0)
    assert health.alive(61.0).ok
    assert health.waited(63.0) == 2.0


def test_an_event_loop_that_stands_still_is_seen_without_any_lag(health: Health) -> None:
    assert health.alive(20.9).ok
    assert health.alive(21.0) == (False, "the event loop has been blocked for 20 s")


def test_reading_a_large_state_is_given_more_time_and_not_for_ever(health: Health) -> None:
    health.look({0: 5}, set(), now=2.0)
    health.load(True, now=2.0)
    end = 2 + int(LOADING_PATIENCE * STUCK)
    for now in range(3, end + 1):
        health.look({0: 5}, set(), now=float(now))
        assert health.alive(float(now)).ok == (now < end)


def test_a_partition_without_its_state_is_named(health: Health) -> None:
    health.look({0: 0, 4: 0, 7: 0}, {0}, now=2.0)
    assert health.ready(2.0) == (False, "the state of partitions 4, 7 is not loaded yet")
    health.look({0: 0, 4: 0, 7: 0}, {0, 4, 7}, now=3.0)
    assert health.ready(3.0).ok


def test_messages_that_went_to_another_worker_are_not_held_against_it(health: Health) -> None:
    look_until(health, 15, lag=7)
    health.look({}, set(), now=16.0)
    look_until(health, 30, lag=7, start=17)
    assert health.alive(30.0).ok
