import pytest

from latentwatch.lab.signs.errors import PlanError
from latentwatch.lab.signs.times import hour_start_ns
from latentwatch.lab.signs.traffic import HOUR_NS


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
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="cannot read the time"):
        hour_start_ns(text)
