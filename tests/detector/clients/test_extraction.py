"""Clients that copy the model are detected; honest ones rarely alarm, at the promised rate."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.detector import (
    Baseline,
    BaselineError,
    DimensionError,
    Extraction,
    ExtractionMonitor,
    NotFiniteError,
    SketchError,
    UnseenClassError,
)
from latentwatch.detector.clients.extraction import DISCOUNT, REMEMBERED, SEGMENT_ROWS
from latentwatch.detector.clients.trace import trace
from latentwatch.detector.queries import DIRECTIONS, LARGEST, REFERENCE_ROWS, STEPS, QueryReference

CLASSES, WIDTH = 6, 24
WORLD = np.random.default_rng(3)
CENTRES = 2.0 * WORLD.standard_normal((CLASSES, WIDTH))
MIXING = WORLD.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)


def draw(count: int, seed: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, classes, count)
    return CENTRES[predicted] + rng.standard_normal((count, WIDTH)) @ MIXING, predicted


def fit(rows: np.ndarray, predicted: np.ndarray, **settings: object) -> Baseline:
    small = {"longest_window": 64, "random_features": 64, "simulated_requests": 60_000}
    found: Baseline = Baseline.fit(
        {"early": rows[:, :4], "deep": rows},
        predicted,
        model="m",
        version="1",
        **(small | settings),  # type: ignore[arg-type]
    )
    return found


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return fit(*draw(3_000, 0))


@pytest.fixture(scope="module")
def reference(baseline: Baseline) -> QueryReference:
    return baseline.queries


def judged(baseline: Baseline, rows: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Points and groups."""
    raw, classes = baseline.rows({"early": rows[:, :4], "deep": rows}, predicted)
    return baseline.queries.points(raw), baseline.group_of_class[classes]


def update(
    monitor: ExtractionMonitor, rows: np.ndarray, predicted: np.ndarray, names: list[str | None]
) -> list[Extraction]:
    return monitor.update({"early": rows[:, :4], "deep": rows}, predicted, names)


def stolen(seeds: int, rounds: int, step: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries that double with each round: every earlier one, moved a little (Papernot 2017)."""
    rng = np.random.default_rng(seed)
    rows, predicted = draw(seeds, seed)
    for _ in range(rounds):
        moved = rows + step * np.sign(rng.standard_normal(rows.shape))
        rows, predicted = np.vstack([rows, moved]), np.concatenate([predicted, predicted])
    return rows, predicted


def test_coordinates_are_integers_whose_distances_are_exact(baseline: Baseline) -> None:
    points, _ = judged(baseline, *draw(500, 1))
    assert points.shape == (500, DIRECTIONS)
    assert np.array_equal(points, np.rint(points))
    assert np.abs(points).max() <= LARGEST
    # of variance one within the classes
    assert STEPS / 2 < points.std(axis=0).min() < 2 * STEPS
    assert DIRECTIONS * (2 * LARGEST) ** 2 <= 2**24
    huge = np.full((1, WIDTH), 3e38, dtype=np.float32)
    assert np.abs(judged(baseline, huge, np.zeros(1, dtype=int))[0]).max() <= LARGEST


def test_ranks_are_those_of_plain_loops(baseline: Baseline, reference: QueryReference) -> None:
    points, groups = judged(baseline, *draw(60, 2))
    rng = np.random.default_rng(0)
    which = rng.integers(-1, 60, (60, 5))
    which[:, 0] = np.arange(60)[::-1]
    found = reference.ranks(points, groups, points, which)

    def nearest(point: np.ndarray, earlier: np.ndarray) -> int:
        return min(int(((point - other) ** 2).sum()) for other in earlier.astype(np.int64))

    for n in range(60):
        earlier = points[which[n][which[n] >= 0]]
        own = nearest(points[n].astype(np.int64), earlier)
        others = [nearest(row, earlier) for row in reference.rows[groups[n]].astype(np.int64)]
        assert found[n] == 1 + sum(other <= own for other in others)


def test_wagers_are_fair_and_reward_what_is_near(reference: QueryReference) -> None:
    wagers = reference.wagers()
    assert wagers.shape == (REFERENCE_ROWS + 1,)
    assert wagers.mean() == pytest.approx(1.0)
    assert (np.diff(wagers) < 0).all()
    assert wagers[0] > 3.0


def test_honest_ranks_are_uniform_whatever_classes_are_asked_for(
    baseline: Baseline, reference: QueryReference
) -> None:
    for classes in (CLASSES, 1):
        points, groups = judged(baseline, *draw(4_000, 5, classes))
        before = np.arange(1, 4_000)[:, None] - 1 - np.arange(REMEMBERED)
        ranks = reference.ranks(points[1:], groups[1:], points, np.maximum(before, -1))
        assert np.mean(ranks) / (REFERENCE_ROWS + 2) == pytest.approx(0.5, abs=0.04)
        assert reference.wagers()[ranks - 1].mean() < 1.0 / DISCOUNT + 0.03


def test_false_alarms_are_as_rare_as_promised(baseline: Baseline) -> None:
    queries, clients = 40_000, 20
    rows, predicted = draw(queries, 6)
    names = [f"client-{n % clients}" for n in range(queries)]
    monitor = ExtractionMonitor(baseline, average_run_length=1_000)
    alarms = []
    for start in range(0, queries, 100):
        part = slice(start, start + 100)
        found = {a.client for a in update(monitor, rows[part], predicted[part], names[part])}
        for client in found:
            monitor.acquit(client)
        alarms += found
    # 40 are allowed; a Poisson number of so many is at most 53 with 98 %
    assert len(alarms) <= 53


@pytest.mark.parametrize("step", [0.05, 0.2])
def test_a_copier_is_seen_among_honest_clients(baseline: Baseline, step: float) -> None:
    rows, predicted = stolen(40, 3, step, 7)
    honest, classes = draw(2_000, 8)
    order = np.random.default_rng(9).permutation(2_000 + len(rows))
    who = np.array(["honest"] * 2_000 + ["copier"] * len(rows))[order]
    # the copier's queries keep their order among the others
    mixed, labels = np.empty((len(order), WIDTH)), np.empty(len(order), dtype=int)
    mixed[who == "honest"], labels[who == "honest"] = honest, classes
    mixed[who == "copier"], labels[who == "copier"] = rows, predicted
    monitor = ExtractionMonitor(baseline, average_run_length=1_000_000)
    alarms = update(monitor, mixed, labels, who.tolist())
    assert {alarm.client for alarm in alarms} == {"copier"}
    first = alarms[0]
    # the first 40 queries are like anybody's
    assert 40 < (who[: first.row + 1] == "copier").sum() < 80
    assert who[first.row] == "copier"
    assert first.evidence >= 1_000_000
    # the likeliest beginning is near the first moved input, the one after 40
    since = who[first.first_offset : first.row + 1]
    assert (since == "copier").sum() == first.queries
    assert 30 <= (who[: first.first_offset] == "copier").sum() <= 45
    # the alarm lasts as long as the attack; after an acquittal, evidence starts from zero
    assert len(alarms) > 200
    monitor.acquit("copier")
    monitor.acquit("nobody")
    assert monitor.evidence["copier"] == 0.0
    assert update(monitor, *draw(100, 20), ["copier"] * 100) == []


def test_retries_are_no_extraction(baseline: Baseline) -> None:
    rows, predicted = draw(50, 10)
    monitor = ExtractionMonitor(baseline, average_run_length=300)
    again = np.repeat(np.arange(50), 20)
    assert update(monitor, rows[again], predicted[again], ["c"] * 1_000) == []
    once = ExtractionMonitor(baseline, average_run_length=300)
    update(once, rows, predicted, ["c"] * 50)
    assert monitor.evidence == once.evidence


def test_requests_of_nobody_known_are_passed_over(baseline: Baseline) -> None:
    rows, predicted = stolen(10, 4, 0.05, 11)
    monitor = ExtractionMonitor(baseline, average_run_length=300)
    assert update(monitor, rows, predicted, [None] * len(rows)) == []
    assert monitor.evidence == {}


def test_clients_that_were_silent_longest_are_forgotten(baseline: Baseline) -> None:
    monitor = ExtractionMonitor(baseline, average_run_length=300, most_clients=10)
    rows, predicted = draw(3 * SEGMENT_ROWS, 12)
    update(monitor, rows, predicted, [str(n) for n in range(len(rows))])
    newest = range(len(rows) - 10, len(rows))
    assert set(monitor.evidence) == {str(n) for n in newest}


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 1_500), max_size=6), move=st.integers(0, 6))
def test_alarms_do_not_depend_on_batches_or_restarts(
    baseline: Baseline, cuts: list[int], move: int
) -> None:
    rows, predicted = stolen(30, 3, 0.1, 13)
    honest, classes = draw(1_500 - len(rows), 14)
    rows, predicted = np.vstack([rows, honest]), np.concatenate([predicted, classes])
    order = np.random.default_rng(15).permutation(1_500)
    names = [["a", "b", None, "c"][n % 4] if n >= 240 else "x" for n in order.tolist()]
    rows, predicted = rows[order], predicted[order]
    monitor = ExtractionMonitor(baseline, average_run_length=400, most_clients=2)
    whole = update(monitor, rows, predicted, names)
    assert whole

    parts = ExtractionMonitor(baseline, average_run_length=400, most_clients=2)
    found = []
    edges = [0, *sorted(cuts), 1_500]
    for number, (start, end) in enumerate(pairwise(edges)):
        if number == move:
            state = parts.state_bytes()
            parts = ExtractionMonitor(baseline, average_run_length=400, most_clients=2)
            parts.load_state(state)
        alarms = update(parts, rows[start:end], predicted[start:end], names[start:end])
        found += [alarm._replace(row=alarm.row + start) for alarm in alarms]
    assert found == whole
    assert parts.evidence == monitor.evidence
    assert parts.state_bytes() == monitor.state_bytes()


def test_a_class_of_few_rows_lowers_the_number_of_all() -> None:
    rows, predicted = draw(1_000, 16)
    predicted[predicted == 5] = 4
    predicted[:30] = 5
    reference = fit(rows, predicted).queries
    assert reference.rows.shape == (CLASSES, 30, DIRECTIONS)
    assert reference.wagers().shape == (31,)


def test_a_layer_of_few_columns_keeps_them_all() -> None:
    rows, predicted = draw(600, 18)
    narrow = {"deep": rows[:, :3]}
    small = {"longest_window": 64, "random_features": 64, "simulated_requests": 60_000}
    found = Baseline.fit(narrow, predicted, model="m", version="1", **small)  # type: ignore[arg-type]
    assert found.queries.dimensions == 3


def test_what_does_not_fit_is_refused_and_changes_nothing(baseline: Baseline) -> None:
    monitor = ExtractionMonitor(baseline, average_run_length=1_000)
    rows, predicted = draw(10, 17)
    update(monitor, rows, predicted, ["a"] * 10)
    state = monitor.state_bytes()
    with pytest.raises(DimensionError, match="9 clients were given for 10 rows"):
        update(monitor, rows, predicted, ["a"] * 9)
    with pytest.raises(NotFiniteError):
        update(monitor, np.where(rows == rows[3], np.nan, rows), predicted, ["a"] * 10)
    with pytest.raises(UnseenClassError):
        update(monitor, rows, predicted + CLASSES, ["a"] * 10)
    assert monitor.state_bytes() == state
    for damaged in (b"", b"LWX2", state[:-9], b"LWM2" + state[4:]):
        with pytest.raises(SketchError, match="not a state of an extraction monitor"):
            monitor.load_state(damaged)
    assert monitor.state_bytes() == state
    other = ExtractionMonitor(fit(*draw(600, 19)), average_run_length=1_000)
    with pytest.raises(SketchError, match="another baseline"):
        other.load_state(state)
    with pytest.raises(BaselineError, match="average_run_length"):
        ExtractionMonitor(baseline, average_run_length=0.5)
    with pytest.raises(BaselineError, match="most_clients"):
        ExtractionMonitor(baseline, average_run_length=1_000, most_clients=0)


@pytest.mark.parametrize("limit", [1e3, 1e9])
def test_a_trace_has_the_evidence_of_the_monitor_after_each_query(
    baseline: Baseline, limit: float
) -> None:
    rows, predicted = stolen(4, 4, 0.1, seed=5)
    rows, predicted = np.insert(rows, 9, rows[3], axis=0), np.insert(predicted, 9, predicted[3])
    raw, classes = baseline.rows({"early": rows[:, :4], "deep": rows}, predicted)
    found = trace(baseline, raw, classes, limit)
    monitor, expected = ExtractionMonitor(baseline, average_run_length=limit), []
    for row in range(len(rows)):
        update(monitor, rows[row : row + 1], predicted[row : row + 1], ["mallory"])
        expected.append(monitor.evidence["mallory"])
    assert found.evidence.tolist() == expected
    assert max(expected) > 1e3
    # neither the first query nor a retry says anything
    assert np.flatnonzero(np.isnan(found.p_values)).tolist() == [0, 9]
    assert 0.0 < np.nanmin(found.p_values) < 0.05
    assert np.nanmax(found.p_values) <= 1.0


def test_a_trace_of_nothing_is_empty(baseline: Baseline) -> None:
    nothing = trace(baseline, *baseline.rows(*_layers(*draw(0, 1))), threshold=1e3)
    assert len(nothing.evidence) == len(nothing.p_values) == 0


def _layers(rows: np.ndarray, predicted: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    return {"early": rows[:, :4], "deep": rows}, predicted
