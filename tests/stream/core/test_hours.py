import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.detector import Baseline, Block, Requests, Sketch
from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.hours import HourAggregator, HourPart, Tally
from latentwatch.stream.core.times import HOUR_NS

GRACE_NS = 300 * 10**9
MINUTE_NS = 60 * 10**9


def at(*minutes: float) -> Requests:
    """Requests at these minutes after hour 1000."""
    times = np.array([1000 * HOUR_NS + int(m * MINUTE_NS) for m in minutes], dtype=np.int64)
    rows = len(times)
    names = tuple(f"r{i}" for i in range(rows))
    return Requests(names, times, np.arange(rows), (None,) * rows, 0)


def rows_by_hour(closed: list[tuple[int, str, Tally]]) -> dict[int, int]:
    return {hour: tally.sketch.rows for hour, _, tally in closed}


@pytest.fixture
def book() -> HourAggregator:
    return HourAggregator(GRACE_NS)


def advance_to(book: HourAggregator, minute: float) -> list[tuple[int, str, Tally]]:
    return book.advance(int(at(minute).event_time_ns[0]))


def test_an_hour_closes_once_the_watermark_has_passed_its_end(book: HourAggregator) -> None:
    book.count_unjudged(at(1, 59))
    assert advance_to(book, 59) == []
    assert advance_to(book, 64.9) == []
    assert rows_by_hour(advance_to(book, 65)) == {1000: 2}
    assert book.is_empty


def test_rows_go_to_the_hour_of_their_event_time(book: HourAggregator) -> None:
    book.count_unjudged(at(0, 59.999, 60, 61, 125))
    assert rows_by_hour(advance_to(book, 125)) == {1000: 2, 1001: 2}
    assert rows_by_hour(book.close_all()) == {1002: 1}


def test_the_watermark_never_goes_back(book: HourAggregator) -> None:
    advance_to(book, 70)
    advance_to(book, 10)
    assert book.watermark_ns == 1000 * HOUR_NS + 65 * MINUTE_NS


def test_late_rows_make_a_further_tally_and_are_counted_as_late(book: HourAggregator) -> None:
    book.count_unjudged(at(1, 2))
    (first,) = advance_to(book, 66)
    book.count_unjudged(at(3, 66))
    (second,) = advance_to(book, 66)
    assert (first[0], first[2].sketch.rows, first[2].late) == (1000, 2, 0)
    assert (second[0], second[2].sketch.rows, second[2].late) == (1000, 1, 1)


def test_rows_within_the_grace_are_not_late(book: HourAggregator) -> None:
    advance_to(book, 64)
    book.count_unjudged(at(59))
    ((_, _, tally),) = book.close_all()
    assert tally.late == 0


def test_closing_all_closes_what_the_watermark_has_not_reached(book: HourAggregator) -> None:
    book.count_unjudged(at(1, 61))
    assert rows_by_hour(book.close_all()) == {1000: 1, 1001: 1}
    assert book.close_all() == []


def test_a_block_is_counted_from_the_first_row_that_was_not_counted_before(
    book: HourAggregator, baseline: Baseline
) -> None:
    rows = np.zeros((4, 9), dtype=np.float32)
    features = baseline.features(rows, np.zeros(4, dtype=np.int64))
    who = at(1, 2, 61, 62)
    block = Block(features, who, baseline.sketch(features, who))
    book.count_block(block, 1, baseline)
    closed = {hour: (name, tally.sketch) for hour, name, tally in book.close_all()}
    assert {hour: name for hour, (name, _) in closed.items()} == {
        1000: baseline.sha256,
        1001: baseline.sha256,
    }
    assert closed[1000][1] == baseline.sketch(
        features.take(slice(1, 2)), at(1, 2).take(slice(1, 2))
    )
    assert closed[1001][1].rows == 2


def test_windows_and_alarms_are_counted_in_the_hour_of_the_newest_request(
    book: HourAggregator, baseline: Baseline
) -> None:
    for minute, alarm in ((1, False), (59, True), (61, True)):
        book.count_window(int(at(minute).event_time_ns[0]), alarm, baseline)
    counts = {hour: (t.windows, t.alarms) for hour, _, t in book.close_all()}
    assert counts == {1000: (2, 1), 1001: (1, 1)}


def test_tallies_of_two_baselines_are_kept_apart(book: HourAggregator, baseline: Baseline) -> None:
    book.count_unjudged(at(1))
    book.count_window(int(at(2).event_time_ns[0]), False, baseline)
    assert [(name, t.sketch.rows) for _, name, t in book.close_all()] == [
        ("", 1),
        (baseline.sha256, 0),
    ]


@given(st.lists(st.lists(st.floats(0, 400), min_size=1, max_size=5), max_size=12), st.data())
def test_every_row_is_emitted_exactly_once_and_across_serialisation(
    messages: list[list[float]], data: st.DataObject
) -> None:
    book, emitted = HourAggregator(GRACE_NS), 0
    for minutes in messages:
        book.count_unjudged(at(*minutes))
        emitted += sum(rows_by_hour(advance_to(book, max(minutes))).values())
        if data.draw(st.booleans()):
            restored = HourAggregator(GRACE_NS)
            restored.load(book.to_bytes())
            assert restored.to_bytes() == book.to_bytes()
            book = restored
        if data.draw(st.booleans()):
            emitted += sum(t.sketch.rows for _, _, t in book.close_all())
    emitted += sum(t.sketch.rows for _, _, t in book.close_all())
    assert emitted == sum(map(len, messages))


def test_a_part_comes_back_from_its_bytes() -> None:
    tally = Tally(Sketch.counting(at(1, 2)), windows=3, alarms=2, late=1)
    part = HourPart("m", "1", 4, 7, 1000, "abc", tally)
    found = HourPart.from_bytes(part.to_bytes())
    assert found == part
    assert found.to_bytes() == part.to_bytes()
    assert part.key == b"m/1/1000/4/7"


def test_a_damaged_part_is_refused() -> None:
    part = HourPart("m", "1", 4, 7, 1000, "", Tally(Sketch.counting(at(1))))
    with pytest.raises(StateError):
        HourPart.from_bytes(part.to_bytes()[:-1])
