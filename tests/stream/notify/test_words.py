"""The texts that people read, and the payloads for Alertmanager."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from latentwatch.stream.notify.alertmanager import changed_alerts, firing_alert
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.text import body, markdown, title
from tests.stream.notify.conftest import about_client, suspect

MakeState = Callable[..., AlertState]
NOW = datetime.fromisoformat("2026-01-05T10:05:00Z").timestamp()


def test_a_message_says_what_an_engineer_on_call_needs_to_know(state: MakeState) -> None:
    notification = Notification(state(severity="critical"))
    assert title(notification) == "[critical] resnet/7: adversarial requests, firing"
    assert body(notification).splitlines() == [
        "Model resnet/7, partition 0",
        "Alert f69680d32f1df1bb: firing, severity critical",
        "Contamination: 21.9% of 64 requests (at least 1.2%); score 9.28, threshold 7.47",
        "Fired at 2026-01-05T10:00:00.828882294Z, last seen at 2026-01-05T10:00:40.828882294Z",
        "Most suspicious: signs-0, signs-1, signs-2, signs-3, signs-4",
        "Investigate: latentwatch inspect f69680d32f1d",
        "Idempotency key: f69680d32f1df1bb/firing/critical",
    ]


def test_a_change_of_severity_says_what_it_was_before(state: MakeState) -> None:
    notification = Notification(state(severity="critical"), state())
    assert title(notification) == "[critical] resnet/7: adversarial requests, now critical"
    assert "Previously: firing, severity warning" in body(notification)


def test_names_chosen_by_services_cannot_become_markup(state: MakeState) -> None:
    requests = [suspect("x`<!channel>\u202e# [a](http://b)")]
    text = markdown(Notification(state(model="<!here> *m*", most_suspicious=requests)))
    assert "`x'<!channel> # [a](http://b)`" in text
    assert r"\<!here\> \*m\*/7" in text


def test_a_message_about_a_client_says_who_and_what_to_do(state: MakeState) -> None:
    notification = Notification(state(**about_client(client="u7")))
    assert title(notification) == "[warning] resnet/7: possible model extraction, firing"
    assert body(notification).splitlines() == [
        "Model resnet/7, partition 0",
        "Alert f69680d32f1df1bb: firing, severity warning",
        "Client u7 appears to be extracting the model: evidence 14,213 (threshold 10,000), "
        "180 queries since 2026-01-05T09:57:00.000000000Z",
        "Fired at 2026-01-05T10:00:00.828882294Z, last seen at 2026-01-05T10:00:40.828882294Z",
        "Review the client's requests (partition 0, offsets 25 to 93), then limit or block the "
        "client",
        "Investigate: latentwatch inspect f69680d32f1d",
        "Idempotency key: f69680d32f1df1bb/firing/warning",
    ]


def test_a_client_cannot_become_markup_nor_appear_in_a_title(state: MakeState) -> None:
    notification = Notification(state(**about_client()))
    assert "Client `x'<!channel> # [a](http://b)` appears" in markdown(notification)
    assert "channel" not in title(notification)
    assert all(line.isprintable() for line in body(notification).splitlines())


def test_an_alert_about_an_unnamed_client_is_reported_all_the_same(state: MakeState) -> None:
    bare = state(**about_client(client=None))
    assert "Client (unknown) appears" in body(Notification(bare))
    assert changed_alerts(Notification(bare), NOW, 60)[0]["labels"]["pattern"] == "extraction"


def test_a_message_can_be_made_of_the_barest_alert(state: MakeState) -> None:
    bare = state("abc", contamination=None, layers={}, most_suspicious=[])
    assert "an unknown share of 64 requests" in body(Notification(bare))
    assert changed_alerts(Notification(bare), NOW, 60)[0]["labels"]["alert_id"] == "abc"


def seconds(alert: dict[str, Any], name: str) -> float:
    return datetime.fromisoformat(alert[name]).timestamp() - NOW


def test_a_firing_alert_lives_for_two_resends(state: MakeState) -> None:
    alert = firing_alert(state(), NOW, 30)
    assert seconds(alert, "endsAt") == 60
    assert alert["startsAt"] == "2026-01-05T10:00:00.828882294Z"
    assert alert["annotations"]["inspect"] == "latentwatch inspect f69680d32f1d"
    assert alert["labels"] == {
        "alertname": "LatentwatchAlert",
        "alert_id": "f69680d32f1df1bb",
        "severity": "warning",
        "model": "resnet",
        "version": "7",
        "partition": "0",
    }


def test_a_client_is_an_annotation_for_alertmanager_not_a_label(state: MakeState) -> None:
    alert = firing_alert(state(**about_client(client="u7")), NOW, 30)
    assert alert["labels"]["pattern"] == "extraction"
    assert "u7" not in str(alert["labels"])
    notes = alert["annotations"]
    assert (notes["client"], notes["messages"]) == ("u7", "partition 0, offsets 25 to 93")
    assert notes["description"].startswith(
        "Client u7 appears to be extracting the model: evidence 14,213"
    )
    assert notes["inspect"].startswith("latentwatch inspect ")
    assert "most_suspicious" not in notes


def test_a_resolved_alert_ends_now(state: MakeState) -> None:
    (alert,) = changed_alerts(Notification(state(status="resolved"), state()), NOW, 30)
    assert seconds(alert, "endsAt") == 0


def test_confirmations_do_not_change_the_labels(state: MakeState) -> None:
    first, later = state(), state(minute=3, score=12.0, pattern="drift", contamination=0.5)
    assert firing_alert(first, NOW, 30)["labels"] == firing_alert(later, NOW, 30)["labels"]


def test_the_alert_of_the_former_severity_ends_when_it_changes(state: MakeState) -> None:
    change = Notification(state(severity="critical"), state())
    former, new = changed_alerts(change, NOW, 30)
    assert (former["labels"]["severity"], seconds(former, "endsAt")) == ("warning", 0)
    assert (new["labels"]["severity"], seconds(new, "endsAt")) == ("critical", 60)


def test_an_alert_from_the_future_still_begins_before_it_ends(state: MakeState) -> None:
    ahead = state(fired_at="2030-01-01T00:00:00.000000000Z", status="resolved")
    (alert,) = changed_alerts(Notification(ahead), NOW, 30)
    assert alert["startsAt"] <= alert["endsAt"]
