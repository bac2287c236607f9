"""When to notify: once per change, however often a worker repeats itself."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from latentwatch.stream.core.errors import EventError
from latentwatch.stream.notify.change import AlertReader, AlertState, Announced, alert_state
from latentwatch.stream.notify.follow import first_of_firing
from tests.stream.notify.conftest import alert_data

LIFE = [
    {"minute": 1},
    {"minute": 2},
    {"minute": 3, "severity": "critical"},
    {"minute": 4, "severity": "critical"},
    {"minute": 4, "severity": "critical", "status": "resolved"},
]
KEYS = ["f69680d32f1df1bb/firing/warning", "f69680d32f1df1bb/firing/critical"]
END = "f69680d32f1df1bb/resolved/critical"

MakeState = Callable[..., AlertState]


def sent(announced: Announced, states: list[AlertState]) -> list[str]:
    """Keys of the notifications that a target receives when every delivery succeeds."""
    keys = []
    for state in states:
        if (news := announced.pending(state)) is not None:
            keys.append(news.idempotency_key)
        announced.add(state)
    return keys


def test_a_notification_is_sent_when_an_alert_fires_worsens_and_resolves(state: MakeState) -> None:
    assert sent(Announced(), [state(**step) for step in LIFE]) == [*KEYS, END]


def published(life: list[AlertState], walk: list[tuple[int, int]]) -> list[AlertState]:
    """What a worker writes that moves forward and, when it restarts, back, until it finishes."""
    written, place = [], 0
    for forward, back in walk:
        written += life[place : place + forward]
        place = max(min(place + forward, len(life)) - back, 0)
    return written + life[place:]


@given(
    walk=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), max_size=5),
    restarts=st.sets(st.integers(0, 24)),
)
def test_neither_repetitions_nor_restarts_notify_twice(
    state: MakeState, walk: list[tuple[int, int]], restarts: set[int]
) -> None:
    written = published([state(**step) for step in LIFE], walk)
    announced, keys = Announced(), []
    for offset, newest in enumerate(written):
        if offset in restarts:
            announced = Announced()
            for before in written[:offset]:
                announced.add(before)
        keys += sent(announced, [newest])
    assert keys == [*KEYS, END]


def test_alerts_are_tracked_separately(state: MakeState) -> None:
    announced = Announced()
    assert sent(announced, [state("a"), state("b"), state("a", 1, status="resolved")]) == [
        "a/firing/warning",
        "b/firing/warning",
        "a/resolved/warning",
    ]
    assert [firing.event.id for firing in announced.firing] == ["b"]


def test_a_confirmation_renews_what_is_known_of_an_alert(state: MakeState) -> None:
    announced = Announced()
    sent(announced, [state(minute=1, score=8.0), state(minute=2, score=11.0), state(minute=1)])
    assert [firing.event.score for firing in announced.firing] == [11.0]


def test_the_end_of_an_alert_with_an_unknown_beginning_is_reported(state: MakeState) -> None:
    notification = Announced().pending(state(status="resolved"))
    assert notification is not None
    assert notification.previous is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"data": []}',
        b'{"data": {"id": "a"}}',
        b'{"data": {"id": 1, "status": "firing", "severity": "warning", "last_seen_at": ""}}',
        orjson.dumps({"data": alert_data(window="a text")}),
        orjson.dumps({"data": alert_data(id="x\n")}),
    ],
)
def test_a_record_that_is_not_an_alert_is_refused(value: bytes) -> None:
    with pytest.raises(EventError, match=r"^invalid alert event: "):
        alert_state(value)


@dataclass
class Record:
    """The fields of a consumer's record that matter here."""

    value: bytes | None
    offset: int = 0
    partition: int = 1
    headers: tuple[tuple[str, bytes], ...] = ()


def test_a_good_alert_behind_bad_records_is_read_and_the_bad_ones_are_counted_and_logged() -> None:
    good = orjson.dumps({"data": alert_data()})
    values = [b"garbage", None, b'{"data": {"id": 7}}', good]
    with capture_logs() as logs:
        reader = AlertReader(structlog.get_logger())
        states = [reader.read(Record(value, offset)) for offset, value in enumerate(values, 40)]
    assert [state and state.event.id for state in states] == [None, None, None, "f69680d32f1df1bb"]
    assert reader.set_aside == 2
    assert [(log["partition"], log["offset"], log["set_aside"]) for log in logs] == [
        (1, 40, 1),
        (1, 42, 2),
    ]


def test_a_new_target_starts_at_the_oldest_alert_that_is_firing(state: MakeState) -> None:
    a, b = state("a"), state("b")
    over_a, over_b = (state(id_, 1, status="resolved") for id_ in "ab")
    assert first_of_firing([], 7) == 7
    assert first_of_firing([(1, a), (2, over_a)], 7) == 7
    assert first_of_firing([(1, a), (2, b), (3, over_a), (5, state("b", 1))], 7) == 2
    assert first_of_firing([(1, a), (2, b), (3, over_b), (4, over_a), (5, b)], 7) == 5
