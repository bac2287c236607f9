"""What people read, and what Alertmanager gets."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from stream.notify.alertmanager import changed_alerts, firing_alert
from stream.notify.change import AlertState, Notification
from stream.notify.text import body, markdown, title

MakeState = Callable[..., AlertState]
NOW = datetime.fromisoformat("2026-01-05T10:05:00Z").timestamp()


def test_a_message_says_what_somebody_on_call_has_to_know(state: MakeState) -> None:
    notification = Notification(state(severity="critical"))
    assert title(notification) == "[critical] resnet/7: adversarial requests, firing"
    assert body(notification).splitlines() == [
        "Model resnet/7, partition 0",
        "Alert f69680d32f1df1bb: firing, severity critical",
        "Contamination: 21.9% of 64 requests (at least 1.2%); score 9.28, threshold 7.47",
        "Fired at 2026-01-05T10:00:00.828882294Z, last seen at 2026-01-05T10:00:40.828882294Z",
        "Most suspicious: signs-0, signs-1, signs-2, signs-3, signs-4",
        "Look into it: latentwatch inspect f69680d32f1d",
        "Idempotency key: f69680d32f1df1bb/firing/critical",
    ]


def test_a_change_of_severity_says_what_it_was_before(state: MakeState) -> None:
    notification = Notification(state(severity="critical"), state())
    assert title(notification) == "[critical] resnet/7: adversarial requests, now critical"
    assert "Before: firing, severity warning" in body(notification)


def test_names_that_services_chose_cannot_become_markup(state: MakeState) -> None:
    requests = [{"request_id": "x`<!channel>\n# [a](http://b)"}]
    text = markdown(Notification(state(model="<!here> *m*", most_suspicious=requests)))
    assert "`x'<!channel> # [a](http://b)`" in text
    assert r"\<!here\> \*m\*/7" in text


def test_a_message_can_be_made_of_the_barest_alert(state: MakeState) -> None:
    bare = AlertState("abc", "firing", "warning", "", {})
    assert "an unknown share of ? requests" in body(Notification(bare))
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


def test_an_alert_of_the_future_still_begins_before_it_ends(state: MakeState) -> None:
    ahead = state(fired_at="2030-01-01T00:00:00.000000000Z", status="resolved")
    (alert,) = changed_alerts(Notification(ahead), NOW, 30)
    assert alert["startsAt"] <= alert["endsAt"]
