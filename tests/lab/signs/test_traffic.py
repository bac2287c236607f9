import numpy as np
import pytest

from latentwatch.lab.signs.errors import PlanError
from latentwatch.lab.signs.traffic import HOUR_NS, Phase, hour_start_ns, plan_hours


def test_the_default_plan_has_two_benign_hours_an_attack_and_a_fading_one() -> None:
    plan = plan_hours()
    assert plan.phases == (Phase.BENIGN, Phase.BENIGN, Phase.ATTACK, Phase.FADING)
    assert len(plan) == 6400
    assert np.bincount(plan.hour).tolist() == [1600] * 4
    adversarial = np.bincount(plan.hour, weights=plan.adversarial).tolist()
    assert adversarial == [0, 0, 480, 120]


@pytest.mark.parametrize("hours", [2, 3, 6])
def test_the_last_hours_are_attacked_whatever_their_number(hours: int) -> None:
    plan = plan_hours(hours, 200, 0.5, seed=1)
    adversarial = np.bincount(plan.hour, weights=plan.adversarial, minlength=hours).tolist()
    assert adversarial == [0] * (hours - 2) + [100, 25]


@pytest.mark.parametrize("requests", [1, 7, 64, 333])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.77, 1.0])
def test_counts_are_exact_up_to_rounding(requests: int, share: float) -> None:
    plan = plan_hours(2, requests, share, seed=3)
    attack, fading = (int(plan.adversarial[plan.hour == hour].sum()) for hour in (0, 1))
    assert abs(attack - share * requests) <= 0.5
    assert abs(fading - share * requests / 4) <= 0.75  # the middle request of an odd number


def test_the_attack_fades_over_the_first_half_of_the_last_hour() -> None:
    plan = plan_hours(2, 4000, 1.0, seed=2)
    last = plan.adversarial[plan.hour == 1]
    shares = last[:2000].reshape(10, 200).mean(axis=1)
    np.testing.assert_allclose(shares, np.linspace(0.95, 0.05, 10), atol=0.01)
    assert not last[2000:].any()


def test_adversarial_requests_are_spread_over_the_hour_under_attack() -> None:
    plan = plan_hours(2, 2000, 0.3, seed=2)
    shares = plan.adversarial[plan.hour == 0].reshape(4, 500).mean(axis=1)
    assert shares.min() > 0.2
    assert shares.max() < 0.4
    assert len(set(shares.tolist())) > 1


def test_times_ascend_and_stay_in_their_hours() -> None:
    plan = plan_hours(5, 300, 0.3, seed=4)
    assert np.all(np.diff(plan.offset_ns) >= 0)
    assert np.array_equal(plan.offset_ns // HOUR_NS, plan.hour)


def test_times_are_not_evenly_spaced() -> None:
    gaps = np.diff(plan_hours(2, 2000, 0.3, seed=4).offset_ns[:2000])
    assert 0.8 < gaps.std() / gaps.mean() < 1.2  # 1 for a Poisson process


def test_the_same_seed_gives_the_same_plan() -> None:
    first, second, other = (plan_hours(3, 100, 0.3, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.offset_ns, second.offset_ns)
    assert np.array_equal(first.adversarial, second.adversarial)
    assert not np.array_equal(first.offset_ns, other.offset_ns)


@pytest.mark.parametrize(
    "wrong",
    [{"hours": 1}, {"requests_per_hour": 0}, {"share": 1.1}, {"share": -0.1}, {"seed": -1}],
)
def test_impossible_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="at least 2 hours"):
        plan_hours(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["1970-01-01T05:00:00Z", "1970-01-01T07:00:00+02:00", str(5 * HOUR_NS)]
)
def test_a_time_may_be_rfc_3339_or_nanoseconds(text: str) -> None:
    assert hour_start_ns(text) == 5 * HOUR_NS


@pytest.mark.parametrize("text", ["2026-01-05T08:30:00Z", "2026-01-05T08:00:00+05:30", "17"])
def test_a_time_within_an_hour_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="start of an hour"):
        hour_start_ns(text)


@pytest.mark.parametrize("text", ["", "eight o'clock", "2026-01-05T08:00:00", "-5"])
def test_text_that_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="cannot read the time"):
        hour_start_ns(text)
