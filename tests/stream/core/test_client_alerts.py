"""Alerts about clients: a life of their own beside that of windows, the same after every cut."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentwatch.detector import Baseline
from latentwatch.detector.clients.extraction import SEGMENT_ROWS
from latentwatch.producers.wire import ActivationBatch, decode, encode
from latentwatch.stream.core.alerts import Alert
from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey, Output
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.service.metrics import LaneReport
from latentwatch.stream.settings import Settings

KEY = LaneKey("signs", "1", 0)
ROWS = 3 * SEGMENT_ROWS
TOPICS = Settings().topics()
COPIER = "x\x00'; <b>"


class Traffic:
    """Honest clients, and between rows 200 and 1,000 one in four requests of a copier."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        predicted = np.arange(ROWS) % 2
        values = rng.standard_normal((ROWS, 9)) + predicted[:, None]
        clients: list[str | None] = [[f"client-{n % 5}", None][n % 7 == 0] for n in range(ROWS)]
        place = 0
        for row in range(200, 1_000, 4):
            seed = 200 + 4 * (place % 25)
            if place >= 25:
                values[row] = values[seed] + 0.03 * rng.standard_normal(9)
                predicted[row] = predicted[seed]
            clients[row], place = COPIER, place + 1
        self.values, self.predicted, self.clients = values, predicted, clients

    def messages(self, requests: Any, cuts: Sequence[int]) -> list[ActivationBatch]:
        edges = sorted({0, ROWS, *range(0, ROWS, 256), *cuts})
        found = []
        for start, end in pairwise(edges):
            rows = slice(start, end)
            layers = {"early": self.values[rows, :3], "deep": self.values[rows, 3:]}
            batch = requests.batch(
                start,
                end - start,
                activations={name: layer.astype(np.float32) for name, layer in layers.items()},
                predicted=self.predicted[rows].astype(np.int32),
                event_time_ns=requests.batch(0, 1).event_time_ns[0] + np.arange(start, end),
                clients=self.clients[rows],
            )
            found.append(decode(*encode(batch)[1:]))
        return found


TRAFFIC = Traffic()


def about_clients(outputs: Sequence[Output]) -> list[Alert]:
    alerts = [output.alert for output in outputs if isinstance(output, AlertChange)]
    return [alert for alert in alerts if alert.peak.pattern == "extraction"]


def run(lane: Lane, messages: Sequence[ActivationBatch], first: int = 0) -> list[Output]:
    return [
        output
        for offset, batch in enumerate(messages[first:], first)
        for output in lane.take(batch, offset)
    ]


def emitted(output: Output) -> tuple[Any, ...]:
    """What may not depend on where messages are cut; their offsets do."""
    if isinstance(output, HourPart):
        return output.hour, output.tally.sketch.rows, output.tally.alarms
    alert = output.alert
    kept = ("score", "requests", "event_time_ns", "pattern", "client", "layers")
    return (
        alert.status,
        alert.last_event_time_ns,
        {name: getattr(alert.peak, name) for name in kept},
    )


def test_a_copier_raises_one_alert_that_goes_on_and_resolves(
    requests: Any, baseline: Baseline, policy: Policy
) -> None:
    outputs = run(Lane(KEY, baseline, policy), TRAFFIC.messages(requests, []))
    alerts = about_clients(outputs)
    assert [alert.status for alert in alerts] == ["firing", "firing", "resolved"]
    assert len({alert.id for alert in alerts}) == 1
    assert {alert.peak.client for alert in alerts} == {COPIER}
    fired, again, resolved = alerts
    # they begin to move their inputs at row 300, message 1
    assert 300 < fired.last_event_time_ns - requests.batch(0, 1).event_time_ns[0] < 500
    assert fired.peak.score >= fired.peak.threshold == 100_000
    assert again.peak.requests > fired.peak.requests
    assert again.peak.offsets == [(0, fired.peak.offsets[0][1], 3)]
    assert resolved.peak == again.peak
    assert fired.severity == "warning"


def test_metrics_count_the_copier_while_their_alert_is_firing(
    baseline: Baseline, policy: Policy, requests: Any
) -> None:
    lane, counted = Lane(KEY, baseline, policy), []
    for offset, batch in enumerate(TRAFFIC.messages(requests, [])):
        alerts = [alert.status for alert in about_clients(lane.take(batch, offset))]
        counted.append((alerts, LaneReport.of(lane).clients))
    assert counted[0] == ([], 0)
    firing = [count for alerts, count in counted if alerts == ["firing"]]
    assert firing == [1, 1]
    assert counted[-1][1] == 0


def test_the_event_has_the_members_of_every_alert(
    requests: Any, baseline: Baseline, policy: Policy
) -> None:
    import orjson

    outputs = run(Lane(KEY, baseline, policy), TRAFFIC.messages(requests, []))
    change = AlertChange(KEY, about_clients(outputs)[0])
    data = orjson.loads(change.event(100_000).to_record(TOPICS).value or b"")["data"]
    assert data["client"] == COPIER
    assert data["atlas_technique"] == "AML.T0024.002"
    assert (data["contamination"], data["p_value"]) == (None, None)
    assert (data["layers"], data["most_suspicious"]) == ({}, [])


def test_windows_are_judged_as_if_nobody_were_known(
    requests: Any, baseline: Baseline, policy: Policy
) -> None:
    messages = TRAFFIC.messages(requests, [])
    known = run(Lane(KEY, baseline, policy), messages)
    nobody = [ActivationBatch(**{**vars_of(batch), "clients": None}) for batch in messages]
    unknown = run(Lane(KEY, baseline, policy), nobody)
    own = [output for output in known if emitted(output) in map(emitted, unknown)]
    assert list(map(emitted, own)) == list(map(emitted, unknown))
    assert len(known) - len(own) == len(about_clients(known))


def vars_of(batch: ActivationBatch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, ROWS - 1), max_size=5))
def test_messages_may_be_cut_anywhere(
    requests: Any, baseline: Baseline, policy: Policy, cuts: list[int]
) -> None:
    expected = run(Lane(KEY, baseline, policy), TRAFFIC.messages(requests, []))
    found = run(Lane(KEY, baseline, policy), TRAFFIC.messages(requests, cuts))
    assert list(map(emitted, found)) == list(map(emitted, expected))


@pytest.mark.parametrize("together", [2, 12])
def test_messages_may_be_taken_together(
    requests: Any, baseline: Baseline, policy: Policy, together: int
) -> None:
    messages = TRAFFIC.messages(requests, [])
    expected = run(Lane(KEY, baseline, policy), messages)
    lane, found = Lane(KEY, baseline, policy), []
    for start in range(0, len(messages), together):
        own = enumerate(messages[start : start + together], start)
        admitted = [lane.admit(batch, offset) for offset, batch in own]
        found += lane.take_admitted([one for one in admitted if one])
    assert found == expected


@settings(max_examples=15, deadline=None)
@given(stop=st.integers(1, 11))
def test_restarts_give_the_same_alerts(
    requests: Any, baseline: Baseline, policy: Policy, stop: int
) -> None:
    messages = TRAFFIC.messages(requests, [])
    lane = Lane(KEY, baseline, policy)
    expected = run(lane, messages)
    first = Lane(KEY, baseline, policy)
    outputs = run(first, messages[:stop])
    second = Lane.from_bytes(first.to_bytes(), baseline, policy)
    second.take_outbox()
    outputs += run(second, messages, stop)
    assert outputs == expected
    second.take_outbox()
    lane.take_outbox()
    assert second.to_bytes() == lane.to_bytes()


def test_alerts_of_a_baseline_that_was_replaced_are_resolved(
    requests: Any, baseline: Baseline, other_baseline: Baseline, policy: Policy
) -> None:
    lane = Lane(KEY, baseline, policy)
    fired = about_clients(run(lane, TRAFFIC.messages(requests, [])[:3]))
    assert [alert.status for alert in fired] == ["firing"]
    for heir in (other_baseline, None):
        moved = Lane.from_bytes(lane.to_bytes(), heir, policy)
        resolved = about_clients(moved.take_outbox())
        assert [(alert.id, alert.status) for alert in resolved] == [(fired[0].id, "resolved")]
        assert about_clients(moved.take_outbox()) == []


def test_a_damaged_state_of_clients_is_noticed(
    requests: Any, baseline: Baseline, policy: Policy
) -> None:
    from latentwatch.stream.core.state_codec import pack, unpack

    lane = Lane(KEY, baseline, policy)
    run(lane, TRAFFIC.messages(requests, [])[:3])
    header, blobs = unpack(lane.to_bytes())
    without = pack({**header, "extraction": {"alerts": {}}}, blobs)
    with pytest.raises(StateError):
        Lane.from_bytes(without, baseline, policy)
