"""From a producer through a worker to the output topics."""

from typing import Any

import numpy as np
import pytest

from latentwatch.producers import BackgroundPublisher

HOUR_NS = 3_600 * 10**9
START_NS = 1_717_200_000 * 10**9  # 2024-06-01T00:00:00Z


@pytest.mark.broker
def test_rates_count_every_request_of_every_hour(undisturbed: Any) -> None:
    assert undisturbed.outputs.requests == undisturbed.recording.requests


@pytest.mark.broker
def test_only_the_attacked_model_raises_an_alert_and_only_in_the_attacked_hour(
    undisturbed: Any,
) -> None:
    alerts = [event["data"] for event in undisturbed.outputs.alerts]
    assert {(a["model"], a["version"]) for a in alerts} == {("signs", "1")}
    assert {a["fired_at"][:13] for a in alerts} == {"2024-05-01T01"}
    assert min(a["fired_at"] for a in alerts) >= "2024-05-01T01:30"
    assert {a["pattern"] for a in alerts} == {"adversarial"}


@pytest.mark.broker
def test_each_lane_under_attack_fires_once_and_resolves_when_it_is_calm(undisturbed: Any) -> None:
    life: dict[int, list[tuple[str, str]]] = {}
    for event in undisturbed.outputs.alerts:
        data = event["data"]
        life.setdefault(data["partition"], []).append((data["id"], data["status"]))
    assert set(life) == {0, 1}
    for states in life.values():
        (identity,) = {name for name, _ in states}
        assert [s for _, s in states] == ["firing"] * (len(states) - 1) + ["resolved"], identity


@pytest.mark.broker
def test_flagged_requests_are_nearly_all_adversarial_and_most_of_those(undisturbed: Any) -> None:
    flagged = {event["data"]["request_id"] for event in undisturbed.outputs.flagged_requests}
    attacked = undisturbed.recording.attacked
    assert len(flagged & attacked) > 0.5 * len(attacked)
    assert len(flagged - attacked) < 0.2 * len(flagged)


@pytest.mark.broker
def test_benign_hours_have_low_rates_and_the_attacked_hour_a_high_one(undisturbed: Any) -> None:
    rates = undisturbed.outputs.rates
    found = {
        hour[11:13]: row
        for (model, layer, hour), row in rates.items()
        if (model, layer) == ("signs", "deep")
    }
    shares = {hour: row["detection_rate"] for hour, row in found.items()}
    assert max(shares["00"], shares["02"]) < 0.02 < 0.08 < shares["01"]
    assert found["01"]["p_value"] < 0.002 < 0.01 < found["00"]["p_value"]
    assert [found[hour]["alarms"] > 0 for hour in ("00", "01")] == [False, True]


@pytest.mark.broker
def test_a_model_without_baseline_is_counted_and_not_judged(undisturbed: Any) -> None:
    rows = [row for (model, _, _), row in undisturbed.outputs.rates.items() if model == "ghost"]
    assert [row["requests"] for row in rows] == [768] * 3
    assert [row["unjudged"] for row in rows] == [768] * 3
    assert {(row["status"], row["layer"], row["T"]) for row in rows} == {("no-baseline", "", None)}


def publish_hours(bootstrap: str, topic: str, traffic: Any, hours: int, rows: int) -> None:
    """Benign requests one by one, as in a service, spread evenly over the hours."""
    rng = np.random.default_rng(11)
    with BackgroundPublisher(
        bootstrap, "signs", "1", topic=topic, datatype="FP32", max_rows=100, linger_ms=50
    ) as publisher:
        for row in range(hours * rows):
            activations, predicted = traffic.draw(1, rng)
            time_ns = START_NS + row * (HOUR_NS // rows)
            publisher.publish(
                activations, predicted, request_ids=[f"r{row}"], event_time_ns=[time_ns]
            )
        assert publisher.flush(timeout=30.0)
        assert publisher.counters.sent == hours * rows


def counts_by_hour(service: Any) -> dict[str, int]:
    rates = service.read().rates
    return {
        hour[11:13]: row["requests"] for (_, layer, hour), row in rates.items() if layer == "deep"
    }


@pytest.mark.broker
def test_what_the_publisher_sends_is_counted_in_its_hours(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    expected = {"00": 500, "01": 500}
    with make_service(kafka_bootstrap, topic_prefix) as service:
        worker = service.start_worker()
        publish_hours(kafka_bootstrap, service.topics.activations, traffic, 2, 500)
        service.wait_until("both hours counted", lambda: counts_by_hour(service) == expected)
        worker.stop()
        assert counts_by_hour(service) == expected
        assert service.read().alerts == []


def test_the_mock_cluster_carries_a_short_stream(
    mock_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    expected = {"00": 300, "01": 300}
    with make_service(mock_bootstrap, topic_prefix, partitions=4, output_partitions=4) as service:
        worker = service.start_worker()
        publish_hours(mock_bootstrap, service.topics.activations, traffic, 2, 300)
        service.wait_until("both hours counted", lambda: counts_by_hour(service) == expected)
        worker.stop()
