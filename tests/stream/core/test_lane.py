from collections.abc import Iterable
from typing import Any

import pytest

from latentwatch.detector import Baseline, DimensionError, UnseenClassError
from latentwatch.producers.wire import ActivationBatch
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey, Output
from latentwatch.stream.core.policy import Policy


def parts_of(outputs: Iterable[Output]) -> list[HourPart]:
    return [output for output in outputs if isinstance(output, HourPart)]


def alerts_of(outputs: Iterable[Output]) -> list[AlertChange]:
    return [output for output in outputs if isinstance(output, AlertChange)]


def rows_of(outputs: Iterable[Output]) -> int:
    return sum(part.tally.sketch.rows for part in parts_of(outputs))


def feed(lane: Lane, batches: Iterable[ActivationBatch]) -> list[Output]:
    """Take batches at consecutive offsets."""
    outputs: list[Output] = []
    for batch in batches:
        outputs += lane.take(batch, lane.last_offset + 1)
    return outputs


def steps(requests: Any, first: int, last: int, rows: int = 20, **changes: Any) -> list[Any]:
    return [requests.decoded(n, rows, **changes) for n in range(first, last, rows)]


def test_an_hour_is_emitted_when_the_watermark_passes_its_end(lane: Lane, requests: Any) -> None:
    outputs = feed(lane, steps(requests, 0, 160))
    (part,) = parts_of(outputs)
    assert (part.model, part.version, part.partition, part.part) == ("signs", "1", 0, 0)
    assert part.tally.sketch.rows == requests.hour_rows
    assert part.tally.windows == 3
    assert part.tally.alarms == 0


def test_messages_that_were_taken_before_are_passed_over(lane: Lane, requests: Any) -> None:
    batches = steps(requests, 0, 260)
    once = feed(lane, batches)
    state = lane.to_bytes()
    for offset, batch in enumerate(batches):
        assert lane.take(batch, offset) == []
    assert lane.to_bytes() == state
    assert rows_of([*once, *lane.close()]) == 260


def test_a_silent_lane_tells_the_rows_of_the_unfinished_block(lane: Lane, requests: Any) -> None:
    outputs = feed(lane, steps(requests, 0, 60))
    assert lane.has_pending
    assert rows_of(outputs) == 0
    assert rows_of(lane.close()) == 60
    assert not lane.has_pending
    assert lane.close() == []


def test_rows_emitted_early_are_not_emitted_again(lane: Lane, requests: Any) -> None:
    outputs: list[Output] = []
    for batch in steps(requests, 0, 300):
        outputs += [*feed(lane, [batch]), *lane.close()]
    assert rows_of(outputs) == 300
    numbers = [part.part for part in parts_of(outputs)]
    assert numbers == list(range(len(numbers)))


def test_closing_early_changes_no_decision(
    lane: Lane, requests: Any, baseline: Baseline, policy: Policy
) -> None:
    batches = [*steps(requests, 0, 100), *steps(requests, 100, 300, attacked=True)]
    disturbed: list[Output] = []
    for batch in batches:
        disturbed += [*feed(lane, [batch]), *lane.close()]
    calm = Lane(lane.key, baseline, policy)
    assert alerts_of(feed(calm, batches)) == alerts_of(disturbed) != []


def test_an_attack_fires_once_is_confirmed_and_resolves_when_calm(
    lane: Lane, requests: Any
) -> None:
    benign = feed(lane, steps(requests, 0, 200))
    attack = feed(lane, steps(requests, 200, 400, attacked=True))
    calm = feed(lane, steps(requests, 400, 800))
    assert alerts_of(benign) == []
    emitted = [change.alert for change in alerts_of([*attack, *calm])]
    assert [alert.status for alert in emitted[:1] + emitted[-1:]] == ["firing", "resolved"]
    assert {alert.status for alert in emitted[1:-1]} == {"firing"}
    assert len({alert.id for alert in emitted}) == 1
    assert 200 <= emitted[0].first_offset * 20 <= 264
    assert {s.request_id for s in emitted[0].peak.most_suspicious} <= {
        f"r{n}" for n in range(200, 400)
    }


def test_alarms_are_counted_in_their_hour(lane: Lane, requests: Any) -> None:
    feed(lane, steps(requests, 0, 200))
    outputs = feed(lane, steps(requests, 200, 300, attacked=True))
    tallies = {p.hour: p.tally for p in parts_of([*outputs, *lane.close()])}
    attacked = tallies[max(tallies)]
    assert attacked.alarms >= 2
    assert attacked.windows >= attacked.alarms


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"predicted": [5, 0, 0, 0]}, UnseenClassError),
        ({"activations": {"early": [[0.0] * 3] * 4}}, DimensionError),
        ({"activations": {"early": [[0.0] * 3] * 4, "deep": [[0.0] * 7] * 4}}, DimensionError),
    ],
)
def test_rows_that_do_not_fit_leave_the_lane_as_it_was(
    lane: Lane, requests: Any, changes: dict[str, Any], error: type[Exception]
) -> None:
    import numpy as np

    feed(lane, steps(requests, 0, 60))
    state = lane.to_bytes()
    if "predicted" in changes:
        changes = {"predicted": np.array(changes["predicted"], dtype=np.int32)}
    else:
        layers = changes["activations"].items()
        changes = {"activations": {n: np.array(v, dtype=np.float32) for n, v in layers}}
    with pytest.raises(error):
        lane.take(requests.decoded(60, 4, **changes), 3)
    assert lane.to_bytes() == state


def test_layers_that_the_baseline_does_not_know_are_left_aside(lane: Lane, requests: Any) -> None:
    import numpy as np

    more = requests.batch(0, 4).activations | {"logits": np.zeros((4, 2), dtype=np.float32)}
    assert lane.take(requests.decoded(0, 4, activations=more), 0) == []
    assert rows_of(lane.close()) == 4


def test_without_a_baseline_rows_are_counted_in_any_shape(
    lane_without_baseline: Lane, requests: Any
) -> None:
    lane = lane_without_baseline
    outputs = feed(lane, steps(requests, 0, 260))
    assert alerts_of(outputs) == []
    emitted = parts_of([*outputs, *lane.close()])
    assert [p.tally.sketch.rows for p in emitted] == [100, 100, 60]
    assert {p.baseline for p in emitted} == {""}


def test_a_baseline_that_is_found_later_judges_from_then_on(
    lane_without_baseline: Lane, requests: Any, baseline: Baseline
) -> None:
    lane = lane_without_baseline
    outputs = feed(lane, steps(requests, 0, 60))
    assert not lane.has_baseline
    lane.adopt(baseline)
    assert lane.has_baseline
    outputs += feed(lane, steps(requests, 60, 200))
    outputs += lane.close()
    by_baseline: dict[str, int] = {}
    for part in parts_of(outputs):
        rows = part.tally.sketch.rows
        by_baseline[part.baseline] = by_baseline.get(part.baseline, 0) + rows
    assert by_baseline == {"": 60, baseline.sha256: 140}


@pytest.mark.parametrize("emitted_early", [False, True])
@pytest.mark.parametrize("there_is_another", [False, True])
def test_a_changed_baseline_loses_no_count(
    lane: Lane,
    requests: Any,
    other_baseline: Baseline,
    policy: Policy,
    emitted_early: bool,
    there_is_another: bool,
) -> None:
    outputs = feed(lane, steps(requests, 0, 100))
    if emitted_early:
        outputs += lane.close()
    outputs += feed(lane, steps(requests, 100, 105, rows=5))
    found = other_baseline if there_is_another else None
    restored = Lane.from_bytes(lane.to_bytes(), found, policy)
    assert restored.has_baseline == there_is_another
    outputs += feed(restored, steps(requests, 105, 200, rows=19))
    outputs += restored.close()
    assert rows_of(outputs) == 200


def test_the_state_says_whose_it_is_and_how_far_it_got(lane: Lane, requests: Any) -> None:
    lane.take(requests.decoded(0, 5), 41)
    assert Lane.key_of(lane.to_bytes()) == LaneKey("signs", "1", 0)
    assert Lane.offset_of(lane.to_bytes()) == 41


def test_the_state_carries_parts_until_they_are_known_to_be_stored(
    lane: Lane, requests: Any, baseline: Baseline, policy: Policy
) -> None:
    emitted = parts_of([*feed(lane, steps(requests, 0, 220)), *lane.close()])
    restored = Lane.from_bytes(lane.to_bytes(), baseline, policy)
    assert restored.take_outbox() == emitted != []
    assert restored.take_outbox() == []
    lane.take_outbox()
    assert Lane.from_bytes(lane.to_bytes(), baseline, policy).take_outbox() == []


def test_a_changed_baseline_resolves_the_alert_of_the_old_one(
    lane: Lane, requests: Any, other_baseline: Baseline, policy: Policy
) -> None:
    fired = alerts_of(feed(lane, steps(requests, 0, 200, attacked=True)))
    assert fired[0].alert.status == "firing"
    restored = Lane.from_bytes(lane.to_bytes(), other_baseline, policy)
    (emitted,) = alerts_of(restored.take_outbox())
    assert (emitted.alert.id, emitted.alert.status) == (fired[0].alert.id, "resolved")
    assert restored.take_outbox() == []
