"""A broker that is away does not fill the log."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from latentwatch.stream.settings.logs import MOST_TEMPLATES, OnceInAWhile

Tell = Callable[..., str | None]


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def tell(now: list[float]) -> Tell:
    once = OnceInAWhile(lambda: now[0])

    def told(template: str, *args: Any, name: str = "aiokafka", level: int = 40) -> str | None:
        record = logging.LogRecord(name, level, __file__, 1, template, args, None)
        return record.getMessage() if once.filter(record) else None

    return told


def test_what_is_said_again_is_counted_and_told_later(tell: Tell, now: list[float]) -> None:
    assert tell("no way to %s", "a:9092") == "no way to a:9092"
    for _ in range(1_200):
        now[0] += 0.008
        assert tell("no way to %s", "b:9092") is None
    now[0] += 1.0
    assert tell("no way to %s", "b:9092") == "no way to b:9092 (and 1,200 more like it)"
    now[0] += 11.0
    assert tell("no way to %s", "b:9092") == "no way to b:9092"


def test_other_messages_levels_and_loggers_are_told(tell: Tell) -> None:
    assert tell("away") == "away"
    assert tell("back") == "back"
    assert tell("away", level=30) == "away"
    assert tell("away", name="faust.app") == "away"
    assert tell("away") is None


def test_our_own_events_are_all_told(tell: Tell) -> None:
    for name in ("latentwatch", "latentwatch.worker"):
        assert [tell("partition taken over", name=name) for _ in range(3)] == [
            "partition taken over"
        ] * 3
    assert [tell("x", name="latentwatchers") for _ in range(2)] == ["x", None]


def test_messages_that_are_no_templates_need_no_more_memory(tell: Tell) -> None:
    for number in range(3 * MOST_TEMPLATES):
        assert tell(f"message {number}") is not None
    assert tell(f"message {3 * MOST_TEMPLATES - 1}") is None
