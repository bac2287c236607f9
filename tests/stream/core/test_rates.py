"""Hourly rates out of parts: in any order, emitted again or not, with and without a baseline."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.detector import Baseline
from latentwatch.stream.core.events import FlaggedRequest
from latentwatch.stream.core.hours import HourPart, Tally
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.rates import HourReport, RateAggregator
from latentwatch.stream.core.times import HOUR_NS, hour_name, parse_timestamp

POLICY = Policy(average_run_length=100_000, allowed_lateness_ns=0)


@pytest.fixture
def baseline(traffic: Any) -> Baseline:
    return traffic.baseline


@pytest.fixture
def other_baseline(traffic: Any) -> Baseline:
    return traffic.other_baseline


def book_of(baseline: Baseline | None, keep_hours: int = 48) -> RateAggregator:
    return RateAggregator(lambda _model, _version: baseline, 0.1, keep_hours)


@pytest.fixture(scope="session")
def parts(traffic: Any) -> list[HourPart]:
    """Parts of two partitions and two hours, the second hour attacked."""
    return parts_of_two_hours(traffic)


@cache
def parts_of_two_hours(traffic: Any) -> list[HourPart]:
    emitted = []
    for partition in (0, 1):
        lane = Lane(LaneKey("signs", "1", partition), traffic.baseline, POLICY)
        for number in range(12):
            attacked = number >= 6 and number % 3 == 0
            first = traffic.start_ns + (number // 6) * HOUR_NS + number * 10**9
            batch = traffic.batch(
                100 * partition + number,
                20 + partition,
                scale=4.0 if attacked else 1.0,
                times_ns=range(first, first + 20 + partition),
            )
            emitted += lane.take(batch, number)
            if number % 4 == 1:
                emitted += lane.close()
        emitted += lane.close()
    return [part for part in emitted if isinstance(part, HourPart)]


def last_reports(book: RateAggregator, parts: list[HourPart]) -> dict[int, HourReport]:
    reports = {}
    for part in parts:
        report = book.add(part)
        assert report is not None
        reports[report.hour] = report
    return reports


def test_an_hour_is_the_sum_of_its_parts(
    traffic: Any, baseline: Baseline, parts: list[HourPart]
) -> None:
    reports = last_reports(book_of(baseline), parts)
    assert set(reports) == {traffic.hour, traffic.hour + 1}
    for hour, report in reports.items():
        own = [part for part in parts if part.hour == hour]
        assert report.revision == len(own) > 2
        assert [row.layer for row in report.rates] == ["deep", "agreement", "early"]
        for row in report.rates:
            assert (row.status, row.unjudged, row.repeated) == ("ok", 0, 0)
            assert row.late == 0
            assert row.requests == 6 * 20 + 6 * 21
            assert row.revision == len(own)
            assert row.windows == sum(part.tally.windows for part in own)
            assert row.alarms == sum(part.tally.alarms for part in own)
            assert row.detection_rate == row.flagged / row.requests
            assert row.baseline_sha256 == baseline.sha256


def test_the_attacked_hour_stands_out(
    traffic: Any, baseline: Baseline, parts: list[HourPart]
) -> None:
    reports = last_reports(book_of(baseline), parts)
    quiet, attacked = (reports[traffic.hour + n].rates[0] for n in (0, 1))
    # 41 of every 123 requests are adversarial
    assert quiet.detection_rate < 0.02 < 0.2 < attacked.detection_rate < 0.4
    assert 0.1 < attacked.contamination_lower_bound < attacked.contamination < 0.5
    assert attacked.p_value < 0.01 < quiet.p_value
    assert attacked.T > quiet.T
    assert attacked.E > quiet.E


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_order_of_the_parts_does_not_matter(traffic: Any, data: st.DataObject) -> None:
    baseline, parts = traffic.baseline, parts_of_two_hours(traffic)
    order = data.draw(st.permutations(parts))
    expected, found = (last_reports(book_of(baseline), emitted) for emitted in (parts, order))
    assert found.keys() == expected.keys()
    for hour, report in found.items():
        assert report.rates == expected[hour].rates
        assert report.revision == expected[hour].revision


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_parts_that_come_again_change_nothing(traffic: Any, data: st.DataObject) -> None:
    baseline, parts = traffic.baseline, parts_of_two_hours(traffic)
    book, once = book_of(baseline), last_reports(book_of(baseline), parts)
    reports: dict[int, HourReport] = {}
    for number, part in enumerate(parts):
        for again in data.draw(st.lists(st.sampled_from([*parts[:number], part]), max_size=3)):
            report = book.add(HourPart.from_bytes(again.to_bytes()))
            if again not in parts[:number] and report is not None:
                reports[report.hour] = report
            else:
                assert report is None
        report = book.add(part)
        if report is not None:
            reports[report.hour] = report
    assert {h: r.rates for h, r in reports.items()} == {h: r.rates for h, r in once.items()}


Flags = dict[tuple[str, int, int], FlaggedRequest]


def flags_that_stand(baseline: Baseline, parts: list[HourPart]) -> Flags:
    """Flagged requests as a reader keeps them; each is emitted only when its status changes."""
    book, standing = book_of(baseline), Flags()
    for part in parts:
        report = book.add(part)
        assert report is not None
        for request in report.flagged:
            who = (request.request_id, request.partition, request.offset)
            if request.status == "withdrawn":
                assert standing.pop(who) == replace(request, status="flagged")
            else:
                assert standing.setdefault(who, request) is request
        assert sum(f.hour == hour_name(part.hour) for f in standing.values()) == (
            report.rates[0].flagged
        )
    return standing


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_same_requests_stand_flagged_in_the_end_whatever_the_order_of_the_parts(
    traffic: Any, data: st.DataObject
) -> None:
    parts = parts_of_two_hours(traffic)
    expected = flags_that_stand(traffic.baseline, parts)
    found = flags_that_stand(traffic.baseline, data.draw(st.permutations(parts)))
    assert found == expected
    assert expected


def test_flagged_requests_are_those_of_the_attack(
    traffic: Any, baseline: Baseline, parts: list[HourPart]
) -> None:
    book = book_of(baseline)
    flagged = [f for part in parts if (report := book.add(part)) for f in report.flagged]
    adversarial = [f for f in flagged if f.offset in (6, 9)]
    assert len(adversarial) >= 0.8 * len(flagged)
    for request in adversarial:
        assert request.hour == hour_name(traffic.hour + 1)
        assert parse_timestamp(request.event_time) // HOUR_NS == traffic.hour + 1
        assert request.request_id.startswith(f"{100 * request.partition + request.offset}-")


def test_without_a_baseline_requests_are_counted(traffic: Any, parts: list[HourPart]) -> None:
    reports = last_reports(book_of(None), parts)
    for report in reports.values():
        (row,) = report.rates
        assert (row.status, row.requests, row.unjudged) == ("no-baseline", 246, 246)
        assert (row.layer, row.flagged, row.detection_rate) == ("", 0, 0.0)
        assert row.p_value is None
        assert report.flagged == []


def test_sums_of_another_baseline_are_not_judged(
    parts: list[HourPart], other_baseline: Baseline
) -> None:
    for report in last_reports(book_of(other_baseline), parts).values():
        (row,) = report.rates
        assert (row.status, row.requests, row.unjudged) == ("other-baseline", 246, 246)
        assert report.flagged == []


def test_requests_of_several_baselines_are_counted_together(
    traffic: Any, baseline: Baseline, other_baseline: Baseline
) -> None:
    book = book_of(baseline)
    report = None
    for number, (fitted, rows) in enumerate([(baseline, 40), (other_baseline, 9), (None, 3)]):
        lane = Lane(LaneKey("signs", "1", number), fitted, POLICY)
        lane.take(traffic.batch(number, rows), 0)
        for part in lane.close():
            assert isinstance(part, HourPart)
            report = book.add(part)
    assert report is not None
    row = report.rates[0]
    assert (row.status, row.requests, row.unjudged) == ("ok", 52, 12)
    assert row.revision == 3


def test_too_few_requests_are_counted_and_not_judged(traffic: Any, baseline: Baseline) -> None:
    lane = Lane(LaneKey("signs", "1", 0), baseline, POLICY)
    lane.take(traffic.batch(0, 7), 0)
    (part,) = lane.close()
    assert isinstance(part, HourPart)
    report = book_of(baseline).add(part)
    assert report is not None
    assert report.rates[0].requests == 7
    assert report.rates[0].p_value is None


def test_late_rows_are_reported(traffic: Any, baseline: Baseline) -> None:
    book = book_of(baseline)
    lane = Lane(LaneKey("signs", "1", 0), baseline, POLICY)
    reports = []
    for offset, hour in enumerate([0, 1, 0]):
        times = [traffic.start_ns + hour * HOUR_NS + row for row in range(32)]
        for part in lane.take(traffic.batch(offset, 32, times_ns=times), offset):
            assert isinstance(part, HourPart)
            reports.append(book.add(part))
    first, correction = (report.rates[0] for report in reports if report)
    assert (first.requests, first.late, first.revision) == (32, 0, 1)
    assert (correction.requests, correction.late, correction.revision) == (64, 32, 2)


def part_of(
    traffic: Any, baseline: Baseline, hour: int, number: int, model: str = "signs"
) -> HourPart:
    block = traffic.block(baseline, 0)
    tally = Tally(baseline.sketch(block.features, block.requests))
    return HourPart(model, "1", 3, number, traffic.hour + hour, baseline.sha256, tally)


def requests_of(report: HourReport | None) -> int:
    assert report is not None
    return int(report.rates[0].requests)


def test_hours_that_are_kept_can_be_corrected(traffic: Any, baseline: Baseline) -> None:
    book = book_of(baseline, keep_hours=2)
    for number, hour in enumerate([0, 1, 2]):
        assert requests_of(book.add(part_of(traffic, baseline, hour, number))) == 32
    assert requests_of(book.add(part_of(traffic, baseline, 0, 3))) == 64


def test_hours_further_back_are_forgotten(traffic: Any, baseline: Baseline) -> None:
    book = book_of(baseline, keep_hours=2)
    for number, hour in enumerate([0, 1, 3]):
        book.add(part_of(traffic, baseline, hour, number))
    assert requests_of(book.add(part_of(traffic, baseline, 1, 3))) == 64
    assert book.add(part_of(traffic, baseline, 0, 4)) is None


def test_a_model_does_not_make_another_one_forget(traffic: Any, baseline: Baseline) -> None:
    book = book_of(baseline, keep_hours=2)
    book.add(part_of(traffic, baseline, 0, 0))
    book.add(part_of(traffic, baseline, 9, 0, model="faces"))
    assert requests_of(book.add(part_of(traffic, baseline, 0, 1))) == 64


def test_a_book_that_forgot_everything_reads_it_again(
    baseline: Baseline, parts: list[HourPart]
) -> None:
    book = book_of(baseline)
    before = last_reports(book, parts)
    book.forget()
    assert last_reports(book, parts) == before


def test_hours_are_named_by_their_start() -> None:
    assert hour_name(0) == "1970-01-01T00:00:00Z"
    assert hour_name(480_000) == "2024-10-04T00:00:00Z"
    assert hour_name(480_000 + 23) == "2024-10-04T23:00:00Z"
