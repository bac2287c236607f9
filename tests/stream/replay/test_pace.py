"""When recorded messages are due."""

import pytest

from latentwatch.stream.replay.kafka import Pace

START_NS = 1_767_607_200 * 10**9


def test_the_first_message_is_due_at_once_and_others_keep_their_distance() -> None:
    pace = Pace(1.0)
    assert pace.wait(START_NS, 100.0) == 0.0
    assert pace.wait(START_NS + 5 * 10**9, 100.0) == pytest.approx(5.0)
    assert pace.wait(START_NS + 5 * 10**9, 103.0) == pytest.approx(2.0)


def test_speed_divides_the_distances() -> None:
    pace = Pace(60.0)
    pace.wait(START_NS, 0.0)
    assert pace.wait(START_NS + 3_600 * 10**9, 0.0) == pytest.approx(60.0)


def test_late_messages_and_those_that_go_back_in_time_are_due_at_once() -> None:
    pace = Pace(1.0)
    pace.wait(START_NS, 0.0)
    assert pace.wait(START_NS + 10**9, 7.0) == 0.0
    assert pace.wait(START_NS - 10**9, 0.5) == 0.0


def test_without_a_speed_nothing_waits() -> None:
    pace = Pace(None)
    assert pace.wait(START_NS, 0.0) == pace.wait(START_NS + 10**18, 0.0) == 0.0
