"""Evaluation: what it measures, in which form, and that only the seed matters."""

from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from latentwatch.detector import ActivationsError, Evaluation, TooFewRowsError, evaluate
from latentwatch.detector.evaluation.measures import MIXTURES, auroc
from latentwatch.detector.evaluation.sets import split_sets

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def data(traffic: Any) -> Arrays:
    """Flat arrays of two layers: benign traffic, an attack that is plain, and one that is none."""
    rng = np.random.default_rng(0)
    sets = {
        "baseline": traffic.draw(1100, rng),
        "clean": traffic.draw(900, rng),
        "plain": traffic.attacked(520, rng),
        "none": traffic.draw(520, rng),
    }
    arrays: Arrays = {}
    for name, (activations, predicted) in sets.items():
        arrays[f"{name}.predicted"] = predicted.astype(np.int16)
        for layer in ("early", "deep"):
            arrays[f"{name}.{layer}"] = activations[layer].astype(np.float16)
    return arrays


Steps = list[tuple[int, int]]


@pytest.fixture(scope="module")
def measured(data: Arrays) -> tuple[Evaluation, Steps]:
    """The outcome, and the progress that was reported on the way."""
    steps: Steps = []
    outcome = evaluate(
        data,
        layers=["deep"],
        alpha=0.05,
        windows=40,
        seed=3,
        measures=["power"],
        simulated_requests=100_000,
        progress=lambda done, total: steps.append((done, total)),
    )
    return outcome, steps


@pytest.fixture(scope="module")
def power(measured: tuple[Evaluation, Steps]) -> dict[str, Any]:
    """JSON form of the power of windows."""
    return measured[0].as_dict()


def test_every_mixture_of_every_attack_is_measured(power: dict[str, Any]) -> None:
    names = [f"{size}@{share}" for size, share in MIXTURES]

    assert {"32@1.0", "50@1.0", "50@0.3", "100@0.2", "200@0.1", "500@0.05"} <= set(names)
    assert list(power["false_alarm"]) == ["32", "50", "100", "200", "500"]
    assert set(power["power"]) == set(power["auroc"]) == {"plain", "none"}
    assert all(list(rates) == names for rates in power["power"].values())


def test_attacks_are_separated_from_benign_traffic(power: dict[str, Any]) -> None:
    assert power["power"]["plain"]["50@1.0"] == 1.0
    assert power["power"]["plain"]["100@0.2"] > 0.8
    assert power["auroc"]["plain"] > 0.85
    assert max(power["power"]["none"].values()) < 0.3
    assert power["auroc"]["none"] == pytest.approx(0.5, abs=0.05)
    assert max(power["false_alarm"].values()) < 0.25


def test_the_json_form_can_be_written_and_names_what_was_measured_alone(
    power: dict[str, Any],
) -> None:
    assert set(power) == {"false_alarm", "power", "auroc"}
    assert orjson.loads(orjson.dumps(power)) == power


def test_the_same_seed_gives_the_same_figures(
    data: Arrays, measured: tuple[Evaluation, Steps]
) -> None:
    again = evaluate(
        data, layers=["deep"], alpha=0.05, windows=40, seed=3, measures=["power"],
        simulated_requests=100_000,
    )  # fmt: skip
    assert again == measured[0]


def test_measures_that_do_not_exist_are_refused_with_those_that_do(data: Arrays) -> None:
    with pytest.raises(ActivationsError, match="unknown measures speed; choose among power, arl"):
        evaluate(data, measures=["power", "speed"])  # type: ignore[list-item]


def test_all_layers_are_used_unless_some_are_named(data: Arrays) -> None:
    everything = split_sets(data, None)

    assert list(everything) == ["baseline", "clean", "plain", "none"]
    assert list(everything["plain"][0]) == ["early", "deep"]
    assert list(split_sets(data, ["deep"])["clean"][0]) == ["deep"]
    assert everything["none"][1] is data["none.predicted"]


def test_progress_reaches_its_end(measured: tuple[Evaluation, Steps]) -> None:
    total = 5 + 2 * len(MIXTURES)

    assert measured[1] == [(done, total) for done in range(1, total + 1)]


def without(data: Arrays, prefix: str) -> Arrays:
    return {key: values for key, values in data.items() if not key.startswith(prefix)}


@pytest.mark.parametrize(
    ("missing", "layers", "advice"),
    [
        ("baseline.", None, "the set 'baseline' is missing; name arrays baseline.<layer>"),
        ("clean.", None, r"the set 'clean' is missing.*found sets: baseline, plain, none"),
        ("plain.deep", None, "'plain.deep' is missing; every set needs every layer"),
        ("none.predicted", None, "'none.predicted' is missing"),
        ("nothing", ["logits"], "layer 'logits' is missing; the file has early, deep"),
        ("", None, "found sets: none"),
    ],
)
def test_incomplete_files_are_refused_with_advice(
    data: Arrays, missing: str, layers: list[str] | None, advice: str
) -> None:
    with pytest.raises(ActivationsError, match=advice):
        evaluate(without(data, missing), layers=layers)


def test_too_few_rows_for_a_window_are_refused_with_figures(data: Arrays) -> None:
    few = data | {f"clean.{name}": data[f"clean.{name}"][:400] for name in ("deep", "predicted")}
    with pytest.raises(ActivationsError, match="windows of 500 need 500 rows of 'clean'"):
        evaluate(few, layers=["deep"], windows=1)

    few = data | {f"plain.{name}": data[f"plain.{name}"][:30] for name in ("deep", "predicted")}
    with pytest.raises(ActivationsError, match=r"0 rows of 'clean' and 32 of 'plain'.* 900 and 30"):
        evaluate(few, layers=["deep"], windows=1)


def test_a_baseline_that_is_too_small_is_refused(data: Arrays) -> None:
    names = ("deep", "predicted")
    few = data | {f"baseline.{name}": data[f"baseline.{name}"][:1000] for name in names}

    with pytest.raises(TooFewRowsError, match="collect at least 1024"):
        evaluate(few, layers=["deep"])


def test_auroc_counts_pairs_and_ties_half(deep_baseline: Any, deep_traffic: Any) -> None:
    rng = np.random.default_rng(1)
    clean, attack = (
        deep_baseline.features(*deep_baseline.rows(*rows))
        for rows in (deep_traffic.draw(40, rng), deep_traffic.attacked(30, rng))
    )
    p, q = clean.p_values[:, 0], attack.p_values[:, 0]

    pairs = np.mean((q[:, None] < p) + 0.5 * (q[:, None] == p))

    assert auroc(clean, attack) == pytest.approx(pairs)
    assert auroc(clean, clean) == pytest.approx(0.5)
