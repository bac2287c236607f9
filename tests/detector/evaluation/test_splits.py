"""Run lengths over random splits of the benign rows."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from latentwatch.detector import ActivationsError, evaluate
from latentwatch.detector.evaluation.runs import RunLengthFigures
from latentwatch.detector.evaluation.sets import Labelled, fit_baseline
from latentwatch.detector.evaluation.splits import Splits, pooled


def numbered(rows: int, start: int) -> Labelled:
    """Rows that say which they are."""
    numbers = np.arange(start, start + rows)
    return {"deep": numbers[:, None].astype(np.float32)}, numbers % 3


def test_every_split_uses_every_row_once_and_as_many_on_each_side_as_the_file() -> None:
    splits = Splits.draw(numbered(30, 0), numbered(50, 30), 4, seed=1)

    assert splits.benign[0]["deep"][:, 0].tolist() == list(range(80))
    assert splits.benign[1].tolist() == [number % 3 for number in range(80)]
    for fitted, clean in splits.parts:
        assert (len(fitted), len(clean)) == (30, 50)
        assert sorted([*fitted, *clean]) == list(range(80))
    assert len({tuple(fitted) for fitted, _ in splits.parts}) == 4
    # the file's own rows are no limit: each side gets rows of both sets
    assert all(0 < np.sum(fitted < 30) < 30 for fitted, _ in splits.parts)


def test_the_seed_decides_how_rows_are_divided() -> None:
    def drawn(seed: int) -> list[list[int]]:
        splits = Splits.draw(numbered(30, 0), numbered(50, 30), 2, seed)
        return [fitted.tolist() for fitted, _ in splits.parts]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def one_split(requests: int, alarms: int) -> RunLengthFigures:
    value = requests / alarms if alarms else None
    found = {"requests": requests, "alarms": alarms, "interval": [1.0, None]}
    return RunLengthFigures({"1000": {"iid": value}}, {"1000": {"iid": found}})


def test_rates_are_averaged_and_not_run_lengths() -> None:
    figures = pooled([one_split(1_000, 4), one_split(1_000, 1), one_split(1_000, 0)])

    assert figures.arl == {"1000": {"iid": 600.0}}
    detail = figures.detail["1000"]["iid"]
    assert (detail["requests"], detail["alarms"]) == (3_000, 5)
    assert [one["arl"] for one in detail["splits"]] == [250.0, 1_000.0, None]
    assert all(one["interval"] == [1.0, None] for one in detail["splits"])


def test_splits_without_any_alarm_promise_no_run_length() -> None:
    assert pooled([one_split(1_000, 0)] * 2).arl == {"1000": {"iid": None}}


@pytest.fixture(scope="module")
def benign(deep_traffic: Any) -> tuple[Labelled, Labelled]:
    """Baseline and clean rows of four classes, and a single clean row of a fifth."""
    rng = np.random.default_rng(0)
    fitted, (activations, predicted) = deep_traffic.draw(1100, rng), deep_traffic.draw(900, rng)
    return fitted, (activations, np.append(predicted[:-1], 4))


def test_a_split_is_fitted_and_measured_though_its_baseline_lacks_a_class(
    benign: tuple[Labelled, Labelled],
) -> None:
    fit = partial(fit_baseline, simulated_requests=400_000)
    splits = Splits.draw(*benign, 1, seed=3, fit=fit)
    assert 1999 in splits.parts[0][1], "choose a seed that leaves the row out of the baseline"
    steps: list[int] = []

    figures = splits.run_lengths(windows=20, seed=3, tick=lambda: steps.append(1))

    assert len(steps) == splits.steps()
    assert set(figures.arl) == {"1000", "10000"}
    assert set(figures.arl["1000"]) == {"iid", "class_shift", "autocorrelated"}
    # 40,000 requests of 900 rows: wide bounds
    assert 300 < (figures.arl["1000"]["iid"] or 0) < 4_000


@pytest.mark.parametrize(
    ("splits", "advice"),
    [(2, "2 splits only affect run lengths: add arl to the measures"), (0, "at least 1, not 0")],
)
def test_splits_that_would_measure_nothing_are_refused(splits: int, advice: str) -> None:
    with pytest.raises(ActivationsError, match=advice):
        evaluate({}, measures=["power", "delay"], splits=splits)
