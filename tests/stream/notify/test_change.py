"""When people are told: once for each change, however often a worker repeats itself."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.stream.notify.change import AlertState, Book, alert_state, changes
from latentwatch.stream.notify.follow import first_of_firing

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


def told(book: Book, states: list[AlertState]) -> list[str]:
    """Keys of what a target is told, when it takes in all that it is told."""
    keys = []
    for state in states:
        if (news := book.news(state)) is not None:
            keys.append(news.idempotency_key)
        book.enter(state)
    return keys


def test_an_alert_is_told_when_it_fires_worsens_and_resolves(state: MakeState) -> None:
    assert told(Book(), [state(**step) for step in LIFE]) == [*KEYS, END]


def published(life: list[AlertState], walk: list[tuple[int, int]]) -> list[AlertState]:
    """What a worker writes that goes forward and, starting again, back, until it is at the end."""
    written, place = [], 0
    for forward, back in walk:
        written += life[place : place + forward]
        place = max(min(place + forward, len(life)) - back, 0)
    return written + life[place:]


@given(
    walk=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), max_size=5),
    restarts=st.sets(st.integers(0, 24)),
)
def test_neither_repetitions_nor_restarts_tell_anything_twice(
    state: MakeState, walk: list[tuple[int, int]], restarts: set[int]
) -> None:
    written = published([state(**step) for step in LIFE], walk)
    book, keys = Book(), []
    for offset, newest in enumerate(written):
        if offset in restarts:
            book = Book()
            for before in written[:offset]:
                book.enter(before)
        keys += told(book, [newest])
    assert keys == [*KEYS, END]


def test_alerts_are_told_apart(state: MakeState) -> None:
    book = Book()
    assert told(book, [state("a"), state("b"), state("a", 1, status="resolved")]) == [
        "a/firing/warning",
        "b/firing/warning",
        "a/resolved/warning",
    ]
    assert [firing.id for firing in book.firing] == ["b"]


def test_a_confirmation_renews_what_is_known_of_an_alert(state: MakeState) -> None:
    book = Book()
    told(book, [state(minute=1, score=8.0), state(minute=2, score=11.0), state(minute=1)])
    assert [firing.data["score"] for firing in book.firing] == [11.0]


def test_the_end_of_an_alert_with_an_unknown_beginning_is_told(state: MakeState) -> None:
    notification = changes(None, state(status="resolved"))
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
    ],
)
def test_a_record_that_is_no_alert_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="no event of an alert"):
        alert_state(value)


def test_a_new_target_begins_with_the_oldest_alert_that_is_firing(state: MakeState) -> None:
    a, b = state("a"), state("b")
    over_a, over_b = (state(id_, 1, status="resolved") for id_ in "ab")
    assert first_of_firing([], 7) == 7
    assert first_of_firing([(1, a), (2, over_a)], 7) == 7
    assert first_of_firing([(1, a), (2, b), (3, over_a), (5, state("b", 1))], 7) == 2
    assert first_of_firing([(1, a), (2, b), (3, over_b), (4, over_a), (5, b)], 7) == 5
