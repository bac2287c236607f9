"""Outputs against the truth: delays, false alerts, flags and hours."""

from typing import Any

import pytest

from latentwatch.chaos.experiment.measure import (
    COPIER,
    EXTRACTION,
    NEVER,
    Truth,
    attack_delays,
    extraction,
    false_alerts,
    fired,
    flag_quality,
    hour_rows,
    hours_difference,
)
from latentwatch.chaos.experiment.outputs import Seen
from latentwatch.chaos.traffic import extraction as traffic
from latentwatch.chaos.traffic import workload
from latentwatch.stream.core.outputs import Outputs
from latentwatch.stream.core.times import HOUR_NS, hour_name, timestamp

START = 480_000  # hours
REQUESTS = 100


def rows(bad: set[int], *, kind: str = "pgd", stretch: int = 0) -> list[dict[str, Any]]:
    """An hour of a hundred requests."""
    first = (START + stretch) * HOUR_NS
    return [
        {
            "request_id": f"{stretch}-{row}",
            "event_time_ns": first + row * (HOUR_NS // REQUESTS),
            "sent_at_ns": row * 10**9,
            "kind": kind if row in bad else "benign",
            "adversarial": row in bad and not kind.startswith("drift"),
            "published": True,
            "stretch": stretch,
        }
        for row in range(REQUESTS)
    ]


def seen(*alerts_at: int, requests: int = REQUESTS) -> Seen:
    """Alerts at the times of these requests of the first hour, and rates that count."""
    found = Seen(Outputs(("deep", "early")))
    for at in alerts_at:
        fired = START * HOUR_NS + at * (HOUR_NS // REQUESTS)
        alert = {"id": f"alert-{at}", "fired_at": timestamp(fired), "pattern": "adversarial"}
        found.outputs.alerts.append(alert)
        found.alert_at_ms[alert["id"]] = 1000 * (at + 2)
    for layer in found.outputs.layers:
        hour = hour_name(START)
        rate = {"layer": layer, "hour": hour, "requests": requests, "revision": 1}
        found.outputs.take("detection_rates", {"model": "signs", "version": "1"} | rate)
    return found


def test_a_delay_counts_from_the_first_adversarial_request_to_the_alert() -> None:
    (delay,) = attack_delays(seen(60), Truth.of(rows({50, 55, 70})))
    assert delay["requests"] == 11
    assert delay["adversarial"] == 2
    assert delay["seconds"] == 12.0


@pytest.mark.parametrize("alerts", [(), (20,)])
def test_an_attack_without_an_alert_after_its_start_is_never_detected(
    alerts: tuple[int, ...],
) -> None:
    (delay,) = attack_delays(seen(*alerts), Truth.of(rows({50})))
    assert delay["requests"] == NEVER


def test_drift_is_not_an_attack_but_a_cause_for_an_alert() -> None:
    truth = Truth.of(rows({10}, kind="drift_fog"))
    assert attack_delays(seen(12), truth) == []
    assert false_alerts(seen(12), truth, 32) == []


def test_an_alert_is_false_if_its_longest_window_held_benign_requests_only() -> None:
    truth = Truth.of(rows({10}))
    assert false_alerts(seen(5, 41, 42), truth, 32) == ["alert-5", "alert-42"]


def test_flags_are_right_or_wrong_by_the_truth() -> None:
    found = seen()
    found.outputs.flagged |= {("signs", "1", f"0-{row}", 0, row): {} for row in (1, 2, 3)}
    quality = flag_quality(found, Truth.of(rows({1, 2, 50, 51})))
    assert quality == {"flagged": 3, "precision": 0.6667, "recall": 0.5}
    assert flag_quality(seen(), Truth.of(rows(set())))["recall"] == 1.0


def test_hours_are_exact_only_if_every_layer_counts_every_published_request_once() -> None:
    truth = Truth.of(rows(set()))
    assert hours_difference(seen(), truth) == 0
    assert hours_difference(seen(requests=98), truth) == 2
    assert hours_difference(seen(requests=101), truth) == 1
    assert hours_difference(seen(), Truth.of([])) == REQUESTS  # an hour of nobody's requests
    lost = [row | {"published": row["request_id"] != "0-7"} for row in rows(set())]
    assert hours_difference(seen(requests=99), Truth.of(lost)) == 0


def test_an_hour_without_published_rates_has_its_requests_and_no_figures() -> None:
    two = [*rows({1}), *rows(set(), stretch=1)]
    first, second = hour_rows(seen(), Truth.of(two))
    assert (first["adversarial"], first["requests"]) == (1, REQUESTS)
    assert (second["sent"], second["requests"]) == (REQUESTS, None)


def about_client(found: Seen, client: str, at: int) -> Seen:
    """With an alert about a client, at the time of a request of the first hour."""
    fired_at = timestamp(START * HOUR_NS + at * (HOUR_NS // REQUESTS))
    alert = {"id": f"{client}-{at}", "fired_at": fired_at, "pattern": "extraction"}
    found.outputs.alerts.append({**alert, "client": client})
    return found


def test_the_traffic_uses_the_same_name_for_the_copier() -> None:
    assert (COPIER, EXTRACTION) == (workload.COPIER, traffic.EXTRACTION)


def test_a_copiers_delay_is_its_queries_up_to_the_alert_that_names_it() -> None:
    truth = Truth.of(rows({10, 20, 30, 40}, kind="extraction"))
    assert extraction(seen(25), truth) == {"queries": NEVER, "others": 0}
    assert attack_delays(seen(25), truth) == []
    found = about_client(about_client(seen(25), "client-03", 15), COPIER, 30)
    assert extraction(found, truth) == {"queries": 3, "others": 1}
    assert extraction(seen(), Truth.of(rows(set()))) == {"queries": 0, "others": 0}


def test_alerts_about_clients_do_not_count_for_an_attack() -> None:
    found = about_client(seen(60), COPIER, 52)
    assert [alert["id"] for alert in fired(found.outputs)] == ["alert-60"]
    (delay,) = attack_delays(found, Truth.of(rows({50})))
    assert delay["requests"] == 11
