from dataclasses import replace
from typing import Any

import pytest

from latentwatch.detector import Baseline, Decision, Monitor
from latentwatch.stream.core.alerts import Alert, AlertTracker, Peak

BLOCK = 32


@pytest.fixture(scope="module")
def decision(baseline: Baseline, requests: Any) -> Decision:
    """A decision on an attack, of which tests change the score."""
    monitor = Monitor(baseline, average_run_length=100_000)
    batch = requests.batch(0, 2 * BLOCK, attacked=True)
    decisions = monitor.update(
        batch.activations,
        batch.predicted,
        request_ids=batch.request_ids,
        event_time_ns=batch.event_time_ns,
    )
    assert decisions[-1].alarm
    return decisions[-1]


@pytest.fixture
def book() -> AlertTracker:
    return AlertTracker("signs/1/0", resolve_after_requests=3 * BLOCK)


def scored(decision: Decision, baseline: Baseline, factor: float, later: int = 0) -> Decision:
    """The decision with its score at so many times the threshold, on later requests."""
    assert decision.threshold is not None
    sketch = decision.sketch
    assert sketch.time_range is not None
    moved = replace(
        sketch,
        time_range=(sketch.time_range[0] + later, sketch.time_range[1] + later),
        offsets={p: (a + later, b + later) for p, (a, b) in sketch.offsets.items()},
    )
    shifted = Decision([moved], baseline, decision.threshold)
    shifted.score = decision.threshold * factor
    return shifted


def judge(book: AlertTracker, baseline: Baseline, decision: Decision, *factors: float) -> list[Any]:
    """Status of what is emitted, block by block."""
    emitted = [
        book.judge(scored(decision, baseline, factor, later), baseline, BLOCK)
        for later, factor in enumerate(factors)
    ]
    return [alert.status if alert else None for alert in emitted]


def test_nothing_is_emitted_below_the_threshold(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    assert judge(book, baseline, decision, 0.1, 0.99) == [None, None]
    assert book.alert is None


def test_an_alert_fires_at_the_threshold_and_latches(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    assert judge(book, baseline, decision, 0.5, 1.0, 1.2, 0.5) == [None, "firing", None, None]
    assert book.alert is not None


def test_a_latched_alert_is_confirmed_once_a_longest_window(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    emitted = judge(book, baseline, decision, *[1.1] * 13)
    expected = [None] * 13
    expected[0::4] = ["firing"] * 4
    assert baseline.longest_window == 4 * BLOCK
    assert emitted == expected


def test_an_alert_resolves_after_the_calm_requests_and_not_before(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    assert judge(book, baseline, decision, 1.1, 0.1, 0.1, 1.1, 0.1, 0.1, 0.1) == [
        *("firing", None, None, None),
        *("firing", None, "resolved"),
    ]
    assert book.alert is None


def test_the_next_alert_has_another_id(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    first = book.judge(scored(decision, baseline, 1.1), baseline, BLOCK)
    for later in range(1, 4):
        book.judge(scored(decision, baseline, 0.1, later), baseline, BLOCK)
    second = book.judge(scored(decision, baseline, 1.1, 4), baseline, BLOCK)
    assert first is not None
    assert second is not None
    assert first.id != second.id


def test_the_id_says_what_the_alert_is_about(
    baseline: Baseline, other_baseline: Baseline, decision: Decision
) -> None:
    def identity(about: str, owner: Baseline, later: int = 0) -> str:
        alert = AlertTracker(about, 96).judge(scored(decision, baseline, 1.1, later), owner, BLOCK)
        assert alert is not None
        return alert.id

    same = identity("signs/1/0", baseline)
    assert same == identity("signs/1/0", baseline)
    others = {
        identity("signs/1/1", baseline),
        identity("signs/1/0", other_baseline),
        identity("signs/1/0", baseline, later=1),
    }
    assert len(others | {same}) == 4


def test_the_peak_is_the_window_with_the_highest_score(
    book: AlertTracker, baseline: Baseline, decision: Decision
) -> None:
    judge(book, baseline, decision, 1.1, 1.5, 1.2)
    assert book.alert is not None
    assert book.alert.peak.score == scored(decision, baseline, 1.5).score
    assert book.alert.first_event_time_ns < book.alert.last_event_time_ns
    assert book.alert.last_event_time_ns == scored(decision, baseline, 1.2, 2).sketch.time_range[1]


def test_severity_follows_the_share_that_must_be_adversarial(
    baseline: Baseline, decision: Decision
) -> None:
    def severity(share: float) -> str:
        peak = replace(Peak.of(decision, baseline), contamination_lower_bound=share)
        return Alert("a", "firing", 0, 0, 0, peak).severity

    assert [severity(share) for share in (0.0, 0.09, 0.1, 0.5)] == ["warning"] * 2 + [
        "critical"
    ] * 2


def test_a_restored_book_goes_on_as_the_first_would(baseline: Baseline, decision: Decision) -> None:
    factors = [0.5, 1.1, 0.1, 0.1, 1.4, 1.0, 0.1, 0.1, 0.1, 0.1, 1.2]
    whole = AlertTracker("x", 3 * BLOCK)
    expected = [
        whole.judge(scored(decision, baseline, f, later), baseline, BLOCK)
        for later, f in enumerate(factors)
    ]
    found, book = [], AlertTracker("x", 3 * BLOCK)
    for later, factor in enumerate(factors):
        restored = AlertTracker("x", 3 * BLOCK)
        restored.load(book.to_state())
        book = restored
        found.append(book.judge(scored(decision, baseline, factor, later), baseline, BLOCK))
    assert found == expected
    assert any(alert and alert.status == "resolved" for alert in found)
