"""A broker that is down does not fill the log."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from latentwatch.stream.settings.logs import MOST_TEMPLATES, OnceInAWhile

Log = Callable[..., str | None]


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def log(now: list[float]) -> Log:
    once = OnceInAWhile(lambda: now[0])

    def passed(template: str, *args: Any, name: str = "aiokafka", level: int = 40) -> str | None:
        record = logging.LogRecord(name, level, __file__, 1, template, args, None)
        return record.getMessage() if once.filter(record) else None

    return passed


def test_repeated_messages_are_counted_and_reported_later(log: Log, now: list[float]) -> None:
    assert log("no way to %s", "a:9092") == "no way to a:9092"
    for _ in range(1_200):
        now[0] += 0.008
        assert log("no way to %s", "b:9092") is None
    now[0] += 1.0
    assert log("no way to %s", "b:9092") == "no way to b:9092 (and 1,200 more like it)"
    now[0] += 11.0
    assert log("no way to %s", "b:9092") == "no way to b:9092"


def test_other_messages_levels_and_loggers_pass(log: Log) -> None:
    assert log("away") == "away"
    assert log("back") == "back"
    assert log("away", level=30) == "away"
    assert log("away", name="faust.app") == "away"
    assert log("away") is None


def test_our_own_events_all_pass(log: Log) -> None:
    for name in ("latentwatch", "latentwatch.worker"):
        assert [log("partition taken over", name=name) for _ in range(3)] == [
            "partition taken over"
        ] * 3
    assert [log("x", name="latentwatchers") for _ in range(2)] == ["x", None]


def test_messages_that_are_no_templates_need_no_more_memory(log: Log) -> None:
    for number in range(3 * MOST_TEMPLATES):
        assert log(f"message {number}") is not None
    assert log(f"message {3 * MOST_TEMPLATES - 1}") is None
