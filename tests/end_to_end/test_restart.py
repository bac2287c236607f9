"""A worker that is killed in the middle of an hour changes no result."""

from typing import Any

import pytest

pytestmark = pytest.mark.broker


def without_revision(rates: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {
        key: {name: value for name, value in row.items() if name != "revision"}
        for key, row in rates.items()
    }


def by_event(alerts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {event["id"]: event for event in alerts}


@pytest.fixture(scope="module")
def killed(kafka_bootstrap: str, make_service: Any, undisturbed: Any) -> Any:
    """The same recording, processed by three workers; the first two are killed."""
    messages = undisturbed.recording.messages
    prefix = undisturbed.topics.activations.replace("undisturbed", "killed")
    with make_service(kafka_bootstrap, prefix.removesuffix("activations")) as service:
        first = service.start_worker()
        middle = len(messages) // 2  # in hour 1, under attack
        service.send(messages[:middle])
        service.wait_until("first worker at work", lambda: service.taken(1) >= 0)
        first.kill()

        second = service.start_worker()
        before = service.taken(1)
        service.send(messages[middle : middle + 20])
        service.wait_until("second worker continues", lambda: service.taken(1) > before)
        second.kill()

        third = service.start_worker()
        service.send(messages[middle + 20 :])
        service.wait_for_requests(undisturbed.recording.requests)
        third.stop()
        return service.read()


def test_the_next_worker_publishes_the_hours_of_a_stream_that_has_ended(
    kafka_bootstrap: str, topic_prefix: str, make_service: Any, traffic: Any
) -> None:
    with make_service(kafka_bootstrap, topic_prefix, idle_seconds=5) as service:
        first = service.start_worker()
        messages = [
            (p, *traffic.message("signs", "1", 0, part * 2 + p, 20))
            for part in range(10)
            for p in range(2)
        ]
        service.send(messages)
        service.wait_until("all taken in", lambda: {service.taken(p) for p in range(2)} == {9})
        first.kill()
        assert service.read().requests == {}

        second = service.start_worker()
        service.wait_for_requests({("signs", 0): 20 * 48})
        second.stop()


def test_every_hour_has_exactly_the_requests_that_were_sent(undisturbed: Any, killed: Any) -> None:
    assert killed.requests == undisturbed.recording.requests


def test_rates_and_statistics_are_bit_identical(undisturbed: Any, killed: Any) -> None:
    assert without_revision(killed.rates) == without_revision(undisturbed.outputs.rates)


def test_alerts_are_the_same_events_with_the_same_ids(undisturbed: Any, killed: Any) -> None:
    assert by_event(killed.alerts) == by_event(undisturbed.outputs.alerts)
    assert len(by_event(killed.alerts)) == len(undisturbed.outputs.alerts)


def test_no_alert_fires_again(undisturbed: Any, killed: Any) -> None:
    fired = {event["data"]["id"] for event in killed.alerts}
    assert fired == {event["data"]["id"] for event in undisturbed.outputs.alerts}
    assert len(fired) == 2


def test_dead_letters_are_the_same(undisturbed: Any, killed: Any) -> None:
    def letters(outputs: Any) -> set[tuple[str, bytes | None]]:
        return {(r.key.decode().partition("/")[2], r.value) for r in outputs.dead_letter}

    assert letters(killed) == letters(undisturbed.outputs)
