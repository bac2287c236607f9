"""Who copies the model is seen within his queries; honest clients are left alone as promised."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector import (
    BaselineError,
    DimensionError,
    ExtractionMonitor,
    NotFiniteError,
    QueryReference,
    SketchError,
    UnseenClassError,
)
from detector.extraction import DISCOUNT, FORGOTTEN_EVERY, REMEMBERED
from detector.queries import DIRECTIONS, LARGEST, REFERENCE_ROWS, STEPS

CLASSES, WIDTH = 6, 24
WORLD = np.random.default_rng(3)
CENTRES = 2.0 * WORLD.standard_normal((CLASSES, WIDTH))
MIXING = WORLD.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)


def draw(count: int, seed: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    predicted = rng.integers(0, classes, count)
    return CENTRES[predicted] + rng.standard_normal((count, WIDTH)) @ MIXING, predicted


@pytest.fixture(scope="module")
def reference() -> QueryReference:
    return QueryReference.fit(*draw(3_000, 0))


def stolen(seeds: int, rounds: int, step: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries that double with each round: every earlier one, moved a little (Papernot 2017)."""
    rng = np.random.default_rng(seed)
    rows, predicted = draw(seeds, seed)
    for _ in range(rounds):
        moved = rows + step * np.sign(rng.standard_normal(rows.shape))
        rows, predicted = np.vstack([rows, moved]), np.concatenate([predicted, predicted])
    return rows, predicted


def test_coordinates_are_integers_whose_distances_are_exact(reference: QueryReference) -> None:
    rows, _ = reference.check(*draw(500, 1))
    points = reference.points(rows)
    assert points.shape == (500, DIRECTIONS)
    assert np.array_equal(points, np.rint(points))
    assert np.abs(points).max() <= LARGEST
    # of variance one within the classes
    assert STEPS / 2 < points.std(axis=0).min() < 2 * STEPS
    assert DIRECTIONS * (2 * LARGEST) ** 2 <= 2**24
    huge = np.full((1, WIDTH), 3e38, dtype=np.float32)
    assert np.abs(reference.points(huge)).max() <= LARGEST


def test_ranks_are_those_of_plain_loops(reference: QueryReference) -> None:
    rows, predicted = reference.check(*draw(60, 2))
    points, groups = reference.points(rows), reference.group_of_class[predicted]
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
    reference: QueryReference,
) -> None:
    for classes in (CLASSES, 1):
        rows, predicted = reference.check(*draw(4_000, 5, classes))
        points, groups = reference.points(rows), reference.group_of_class[predicted]
        before = np.arange(1, 4_000)[:, None] - 1 - np.arange(REMEMBERED)
        ranks = reference.ranks(points[1:], groups[1:], points, np.maximum(before, -1))
        assert np.mean(ranks) / (REFERENCE_ROWS + 2) == pytest.approx(0.5, abs=0.04)
        assert reference.wagers()[ranks - 1].mean() < 1.0 / DISCOUNT + 0.03


def test_false_alarms_are_as_rare_as_promised(reference: QueryReference) -> None:
    queries, clients = 40_000, 20
    rows, predicted = draw(queries, 6)
    names = [f"client-{n % clients}" for n in range(queries)]
    monitor = ExtractionMonitor(reference, average_run_length=1_000)
    alarms = monitor.update(rows, predicted, names)
    # 40 are allowed; a Poisson number of so many is at most 53 with 98 %
    assert len(alarms) <= 53


@pytest.mark.parametrize("step", [0.05, 0.2])
def test_a_copier_is_seen_among_honest_clients(reference: QueryReference, step: float) -> None:
    rows, predicted = stolen(40, 3, step, 7)
    honest, classes = draw(2_000, 8)
    order = np.random.default_rng(9).permutation(2_000 + len(rows))
    who = np.array(["honest"] * 2_000 + ["copier"] * len(rows))[order]
    # the copier's queries keep their order among the others
    mixed, labels = np.empty((len(order), WIDTH)), np.empty(len(order), dtype=int)
    mixed[who == "honest"], labels[who == "honest"] = honest, classes
    mixed[who == "copier"], labels[who == "copier"] = rows, predicted
    monitor = ExtractionMonitor(reference, average_run_length=1_000_000)
    alarms = monitor.update(mixed, labels, who.tolist())
    assert {alarm.client for alarm in alarms} == {"copier"}
    first = alarms[0]
    # his first 40 queries are as good as anybody's
    assert 40 < first.queries < 80
    assert who[first.row] == "copier"
    assert (who[: first.row + 1] == "copier").sum() == first.queries + 1
    assert first.evidence >= 1_000_000


def test_retries_are_no_extraction(reference: QueryReference) -> None:
    rows, predicted = draw(50, 10)
    monitor = ExtractionMonitor(reference, average_run_length=300)
    again = np.repeat(np.arange(50), 20)
    assert monitor.update(rows[again], predicted[again], ["c"] * 1_000) == []
    once = ExtractionMonitor(reference, average_run_length=300)
    once.update(rows, predicted, ["c"] * 50)
    assert monitor.evidence == once.evidence


def test_requests_of_nobody_known_are_passed_over(reference: QueryReference) -> None:
    rows, predicted = stolen(10, 4, 0.05, 11)
    monitor = ExtractionMonitor(reference, average_run_length=300)
    assert monitor.update(rows, predicted, [None] * len(rows)) == []
    assert monitor.evidence == {}


def test_clients_that_were_silent_longest_are_forgotten(reference: QueryReference) -> None:
    monitor = ExtractionMonitor(reference, average_run_length=300, most_clients=10)
    rows, predicted = draw(3 * FORGOTTEN_EVERY, 12)
    monitor.update(rows, predicted, [str(n) for n in range(len(rows))])
    newest = range(len(rows) - 10, len(rows))
    assert set(monitor.evidence) == {str(n) for n in newest}


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 1_500), max_size=6), move=st.integers(0, 6))
def test_alarms_do_not_depend_on_batches_or_restarts(
    reference: QueryReference, cuts: list[int], move: int
) -> None:
    rows, predicted = stolen(30, 3, 0.1, 13)
    honest, classes = draw(1_500 - len(rows), 14)
    rows, predicted = np.vstack([rows, honest]), np.concatenate([predicted, classes])
    order = np.random.default_rng(15).permutation(1_500)
    names = [["a", "b", None, "c"][n % 4] if n >= 240 else "x" for n in order.tolist()]
    rows, predicted = rows[order], predicted[order]
    monitor = ExtractionMonitor(reference, average_run_length=400, most_clients=2)
    whole = monitor.update(rows, predicted, names)
    assert whole

    parts = ExtractionMonitor(reference, average_run_length=400, most_clients=2)
    found = []
    edges = [0, *sorted(cuts), 1_500]
    for number, (start, end) in enumerate(pairwise(edges)):
        if number == move:
            state = parts.state_bytes()
            parts = ExtractionMonitor(reference, average_run_length=400, most_clients=2)
            parts.load_state(state)
        alarms = parts.update(rows[start:end], predicted[start:end], names[start:end])
        found += [alarm._replace(row=alarm.row + start) for alarm in alarms]
    assert found == whole
    assert parts.evidence == monitor.evidence
    assert parts.state_bytes() == monitor.state_bytes()


def test_rare_classes_share_their_reference_rows() -> None:
    rows, predicted = draw(1_000, 16)
    predicted[predicted == 5] = 4
    predicted[:8] = 5
    reference = QueryReference.fit(rows, predicted)
    assert reference.group_of_class.shape == (CLASSES,)
    assert reference.rows.shape[0] == len(np.unique(reference.group_of_class))
    assert reference.rows.shape[1] >= 20


def test_what_does_not_fit_is_refused_and_changes_nothing(reference: QueryReference) -> None:
    monitor = ExtractionMonitor(reference, average_run_length=1_000)
    rows, predicted = draw(10, 17)
    monitor.update(rows, predicted, ["a"] * 10)
    state = monitor.state_bytes()
    with pytest.raises(DimensionError, match="9 clients were given for 10 rows"):
        monitor.update(rows, predicted, ["a"] * 9)
    with pytest.raises(NotFiniteError):
        monitor.update(np.where(rows == rows[3], np.nan, rows), predicted, ["a"] * 10)
    with pytest.raises(UnseenClassError):
        monitor.update(rows, predicted + CLASSES, ["a"] * 10)
    assert monitor.state_bytes() == state
    for damaged in (b"", b"LWX1", state[:-9], b"LWM2" + state[4:]):
        with pytest.raises(SketchError, match="no state of an extraction monitor"):
            monitor.load_state(damaged)
    assert monitor.state_bytes() == state
    with pytest.raises(BaselineError, match="average_run_length"):
        ExtractionMonitor(reference, average_run_length=1.0)
    with pytest.raises(BaselineError, match="most_clients"):
        ExtractionMonitor(reference, average_run_length=1_000, most_clients=0)
