"""Targets over real HTTP: signed, refused, hanging, unreachable; and secrets stay secret."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from latentwatch.stream.notify.alertmanager import firing_alert
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.parse import parse_target
from latentwatch.stream.notify.targets import (
    AlertmanagerTarget,
    AppriseTarget,
    DeliveryError,
    Target,
    WebhookTarget,
)

MakeState = Callable[..., AlertState]

DOCS = Path(__file__).parents[3] / "docs" / "subscribers.md"
NOW = 1_767_607_500.0
SECRET = b"0123456789abcdef-secret"


def webhook(server: Any) -> WebhookTarget:
    return WebhookTarget(
        "hook", f"http://{server.address}/pa-th", SECRET, clock=lambda: NOW, timeout_seconds=0.3
    )


def alertmanager(server: Any) -> AlertmanagerTarget:
    return AlertmanagerTarget(
        "am", f"http://{server.address}/", clock=lambda: NOW, timeout_seconds=0.3
    )


def send(target: Target, notification: Notification) -> None:
    asyncio.run(target.send(notification))


def is_genuine() -> Callable[..., bool]:
    """The function in docs/subscribers.md that checks signatures."""
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if "def is_genuine" in block]
    names: dict[str, Any] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    check: Callable[..., bool] = names["is_genuine"]
    return check


def test_a_webhook_is_sent_the_alert_and_the_words(server: Any, state: MakeState) -> None:
    send(webhook(server), Notification(state(severity="critical"), state()))
    (received,) = server.received
    content = orjson.loads(received.body)
    assert received.path == "/pa-th"
    assert received.headers["idempotency-key"] == "f69680d32f1df1bb/firing/critical"
    assert content["idempotency_key"] == received.headers["idempotency-key"]
    assert content["previous"] == {"status": "firing", "severity": "warning"}
    assert content["alert"] == state(severity="critical").data
    assert "latentwatch inspect" in content["text"]


def test_the_trace_of_an_alert_is_passed_on(server: Any, state: MakeState) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for headers in ([("traceparent", trace.encode())], [("traceparent", b"x\r\ny: z")], []):
        send(webhook(server), Notification(state(headers=headers)))

    assert [got.headers.get("traceparent") for got in server.received] == [trace, None, None]
    alert = firing_alert(state(headers=[("traceparent", trace.encode())]), NOW, 60)
    assert alert["annotations"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in firing_alert(state(), NOW, 60)["annotations"]


def test_the_check_of_the_docs_takes_genuine_webhooks_alone(server: Any, state: MakeState) -> None:
    send(webhook(server), Notification(state()))
    (received,) = server.received
    check, headers, body = is_genuine(), received.headers, received.body
    later = headers | {"latentwatch-timestamp": str(int(NOW) + 1)}
    assert check(SECRET, headers, body, NOW + 20)
    assert not check(SECRET, headers, body + b" ", NOW)
    assert not check(SECRET + b"x", headers, body, NOW)
    assert not check(SECRET, later, body, NOW)
    assert not check(SECRET, headers, body, NOW + 301)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (500, "the server responded with status 500"),
        (400, "the server responded with status 400"),
        (302, "the server responded with status 302"),
        ("hang", "no response within 0.3 s"),
    ],
)
@pytest.mark.parametrize("make", [webhook, alertmanager])
def test_any_answer_but_success_is_a_failure(
    server: Any, state: MakeState, make: Any, answer: Any, message: str
) -> None:
    server.answers = [answer]
    with pytest.raises(DeliveryError, match=message):
        send(make(server), Notification(state()))
    assert len(server.received) == 1


def test_alertmanager_is_notified_and_refreshed(server: Any, state: MakeState) -> None:
    target = alertmanager(server)
    send(target, Notification(state()))
    asyncio.run(target.refresh([state(), state("other")]))
    asyncio.run(target.refresh([]))
    first, refreshed = (orjson.loads(received.body) for received in server.received)
    assert {received.path for received in server.received} == {"/api/v2/alerts"}
    assert first == refreshed[:1]
    assert [alert["labels"]["alert_id"] for alert in refreshed] == ["f69680d32f1df1bb", "other"]


def test_apprise_delivers_title_text_and_weight(server: Any, state: MakeState) -> None:
    target = AppriseTarget("chat", f"json://{server.address}/chat")
    send(target, Notification(state(severity="critical")))
    send(target, Notification(state(status="resolved"), state()))
    first, second = (orjson.loads(received.body) for received in server.received)
    assert (first["type"], second["type"]) == ("failure", "success")
    assert first["title"] == "[critical] resnet/7: adversarial requests, firing"
    assert "`f69680d32f1df1bb/firing/critical`" in first["message"]


def test_what_apprise_could_not_deliver_is_a_failure(server: Any, state: MakeState) -> None:
    server.answers = [500]
    with pytest.raises(DeliveryError, match="apprise could not deliver"):
        send(AppriseTarget("chat", f"json://{server.address}/chat"), Notification(state()))


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.mark.parametrize("kind", ["webhook+http", "alertmanager+http", "json"])
def test_no_error_no_log_and_no_name_holds_a_secret(
    state: MakeState, kind: str, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    url = f"{kind}://user:p4ssword@127.0.0.1:{closed_port()}/t0ken"
    url += "#env:HOOK" if kind.startswith("webhook") else ""
    target = parse_target(url, environ={"HOOK": "hush" * 8})
    with caplog.at_level("DEBUG"), pytest.raises(DeliveryError) as caught:
        send(target, Notification(state()))
    said = f"{caught.value}{caught.value.__cause__}{target!r}{target.name}{caplog.text}"
    said += "".join(capfd.readouterr())
    assert not [secret for secret in ("p4ssword", "t0ken", "hush") if secret in said]
