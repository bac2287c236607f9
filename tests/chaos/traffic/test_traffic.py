"""Traffic of experiments: plans, inputs, and attacks on any classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentwatch.chaos.traffic.drift import DRIFTS
from latentwatch.chaos.traffic.errors import TargetError, TrafficError
from latentwatch.chaos.traffic.kinds import Kind, changed
from latentwatch.chaos.traffic.plan import Stretch, make_plan
from latentwatch.chaos.traffic.target import Target, classify
from latentwatch.chaos.traffic.workload import make_requests

MODULE = "tests.end_to_end.small_classifier"


@pytest.fixture(scope="module")
def target() -> Target:
    return Target.of(f"{MODULE}:network", f"{MODULE}:draw", "^[24]$")


def test_a_plan_has_exactly_the_share_asked_for_between_begin_and_until() -> None:
    plan = make_plan(Stretch(1000, share=0.3, begin=0.5, until=0.75, skew_seconds=-60), 10**15, 1)
    assert plan.bad.sum() == 75
    assert not plan.bad[:500].any()
    assert not plan.bad[750:].any()
    assert (np.diff(plan.event_time_ns) >= 0).all()
    assert 10**15 - 60 * 10**9 <= plan.event_time_ns[0] < plan.event_time_ns[-1]


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"begin": 0.6, "until": 0.5}, {"seconds": 0}])
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(TrafficError):
        Stretch(10, **wrong)  # type: ignore[arg-type]


def test_validation_inputs_are_never_those_of_the_traffic(target: Target) -> None:
    one, other = target.inputs(50, 0, "validation"), target.inputs(50, 0, "traffic")
    assert not torch.equal(one.values, other.values)


def test_inputs_of_a_file_are_divided_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "inputs.npz"
    np.savez(file, inputs=np.arange(20, dtype=np.float32).reshape(20, 1), labels=np.zeros(20))
    target = Target.of(f"{MODULE}:network", str(file), ".")
    validation, traffic = (target.inputs(10, 3, part).values for part in ("validation", "traffic"))
    assert sorted(torch.cat([validation, traffic]).flatten().tolist()) == list(range(20))
    with pytest.raises(TargetError, match="has 10 inputs"):
        target.inputs(11, 3)


@pytest.mark.parametrize("path", ["nothing", "no.such.module:x", f"{MODULE}:CLASSES"])
def test_a_classifier_that_cannot_be_loaded_is_named(path: str) -> None:
    with pytest.raises(TargetError, match=path):
        Target.of(path, f"{MODULE}:draw", ".")


@pytest.mark.parametrize("name", ["pgd", "fgsm", "patch"])
def test_attacks_fool_any_classifier_within_their_bounds(target: Target, name: str) -> None:
    strength = 0.5 if name == "patch" else 0.25
    clean = target.recognised(24, 7)
    found = changed(Kind(name, strength), target, 24, seed=7)
    change = (found.values - clean.values).abs()
    assert (classify(target.model, found.values) != found.labels).float().mean() > 0.5
    assert found.values.min() >= 0
    assert found.values.max() <= 1
    if name == "patch":
        assert (change > 1 / 255).flatten(1).sum(dim=1).max() <= 16
    else:
        assert change.max() <= 0.25 + 1 / 255


@pytest.mark.parametrize("name", ["drift_rotation", "drift_noise"])
def test_drift_grows_with_its_strength_and_is_not_an_attack(target: Target, name: str) -> None:
    clean = target.inputs(40, 2).values
    mild, strong = (
        (changed(Kind(name, s), target, 40, seed=2).values - clean).abs().mean() for s in (1, 3)
    )
    assert 0 < mild < strong
    assert name in DRIFTS
    assert not Kind(name).is_attack


def test_kinds_that_need_the_signs_or_do_not_exist_are_refused(target: Target) -> None:
    with pytest.raises(TrafficError, match="traffic-sign network"):
        changed(Kind("feature_match"), target, 4, seed=0)
    with pytest.raises(TrafficError, match="choose among"):
        Kind("magic")


def test_a_favoured_class_gets_its_share(target: Target) -> None:
    stretch = Stretch(100, favoured=1, favour=0.7)
    requests = make_requests(target, make_plan(stretch, 0, 0), stretch, None, seed=0)
    assert (requests.labels == 1).sum() == 70


def test_a_copier_queries_its_seeds_and_then_steps_away_from_earlier_inputs(
    target: Target,
) -> None:
    found = changed(Kind("extraction", 0.05), target, 64, seed=4)
    seeds = target.recognised(4, 4)
    assert torch.equal(found.values[:4], seeds.values)
    for known in (4, 8, 16, 32):
        moved = (found.values[known : 2 * known] - found.values[:known]).abs()
        assert 0 < moved.max() <= 0.05 + 1e-6
    assert found.values.min() >= seeds.values.min()
    assert found.values.max() <= seeds.values.max()
