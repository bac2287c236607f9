"""Where notifications go: Alertmanager, signed webhooks, and everything that apprise supports.

::

    StreamError
    └── NotifyError          a target is misconfigured
        └── DeliveryError    a target did not accept a notification; it is retried
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import orjson

from latentwatch.stream.core.errors import StreamError
from latentwatch.stream.core.events import AlertEvent
from latentwatch.stream.notify import alertmanager
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.text import body, markdown, title

__all__ = [
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "AlertmanagerTarget",
    "AppriseTarget",
    "DeliveryError",
    "NotifyError",
    "Target",
    "WebhookTarget",
    "sign",
]

TIMEOUT_SECONDS = 10.0
"""A server that takes longer to respond counts as failed."""

JSON = {"content-type": "application/json"}

TIMESTAMP_HEADER = "latentwatch-timestamp"
SIGNATURE_HEADER = "latentwatch-signature"


class NotifyError(StreamError):
    """A target is malformed, has no secret, or needs a package that is not installed."""


class DeliveryError(NotifyError):
    """A target refused a notification, timed out, or was unreachable. Contains no secret."""


class Target(Protocol):
    """One receiver of notifications. Neither its name nor its errors contain secrets."""

    @property
    def name(self) -> str:
        """Its name in logs and in its consumer group."""

    @property
    def refresh_seconds(self) -> float | None:
        """How often it needs a reminder of the firing alerts; None if never."""

    async def send(self, notification: Notification) -> None:
        """Deliver a notification; `DeliveryError` unless its arrival is confirmed."""

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Send the firing alerts again."""


class AlertmanagerTarget:
    """Alertmanager, through version 2 of its API.

    Parameters
    ----------
    name, url : str
        The URL without ``/api/v2/alerts``.
    resend_seconds : float
        Interval at which firing alerts are sent again; they expire after two of them.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        resend_seconds: float = 60.0,
        clock: Callable[[], float] = time.time,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name, self.refresh_seconds = name, resend_seconds
        self._url, self._clock = url.rstrip("/") + "/api/v2/alerts", clock
        self._resend, self._timeout = resend_seconds, timeout_seconds

    def __repr__(self) -> str:
        return f"AlertmanagerTarget({self.name!r})"

    async def send(self, notification: Notification) -> None:
        """Post the alert; if its severity changed, also end the one with the old severity."""
        await self._post(alertmanager.changed_alerts(notification, self._clock(), self._resend))

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Post all firing alerts again."""
        now = self._clock()
        await self._post([alertmanager.firing_alert(s, now, self._resend) for s in firing])

    async def _post(self, alerts: list[dict[str, Any]]) -> None:
        if alerts:
            await _post(self._url, orjson.dumps(alerts), JSON, self._timeout)


class WebhookTarget:
    """A web server that receives signed JSON.

    Parameters
    ----------
    name, url : str
    secret : bytes
        Signing key.
    clock : callable
        Seconds since 1970.
    """

    refresh_seconds: float | None = None

    def __init__(
        self,
        name: str,
        url: str,
        secret: bytes,
        *,
        clock: Callable[[], float] = time.time,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.name = name
        self._url, self._secret, self._clock = url, secret, clock
        self._timeout = timeout_seconds

    def __repr__(self) -> str:
        return f"WebhookTarget({self.name!r})"

    async def send(self, notification: Notification) -> None:
        """Post the change; retries have the same body, but a new timestamp and signature."""
        content, now = webhook_body(notification), str(int(self._clock()))
        headers = {
            **JSON,
            "idempotency-key": notification.idempotency_key,
            TIMESTAMP_HEADER: now,
            SIGNATURE_HEADER: sign(self._secret, now, content),
        }
        if notification.state.traceparent is not None:
            headers["traceparent"] = notification.state.traceparent
        await _post(self._url, content, headers, self._timeout)

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Do nothing: webhooks receive changes only."""


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """Signature of a webhook: ``v1=`` and the HMAC-SHA256 (RFC 2104) in hexadecimal.

    It covers the timestamp too, so that a captured request cannot be replayed later.

    Parameters
    ----------
    secret : bytes
    timestamp : str
        Seconds since 1970, as in the header.
    body : bytes
        As sent, before any parsing.

    Examples
    --------
    >>> sign(b"secret", "1767607360", b"{}")[:15]
    'v1=2cb9a4dc501f'
    """
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def webhook_body(notification: Notification) -> bytes:
    """JSON with the texts, the alert as published in the topic, and the state reported before."""
    before = notification.previous and notification.previous.event
    return orjson.dumps(
        {
            "idempotency_key": notification.idempotency_key,
            "title": title(notification),
            "text": body(notification),
            "previous": before and {"status": before.status, "severity": before.severity},
            "alert": notification.state.data,
        }
    )


class AppriseTarget:
    """A chat, a pager, a mailbox: any service that apprise has a URL for.

    Parameters
    ----------
    name, url : str

    Raises
    ------
    NotifyError
        If apprise rejects the URL; the message does not repeat it.
    """

    refresh_seconds: float | None = None

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        # apprise logs parts of URLs, and URLs contain passwords
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            # apprise imports modules that Python has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            import apprise

            self._apprise = apprise.Apprise()
            understood = self._apprise.add(url)
        if not understood:
            raise NotifyError(
                f"target {name!r}: apprise does not understand the URL; see "
                "https://github.com/caronc/apprise/wiki for the form that the service needs"
            )

    def __repr__(self) -> str:
        return f"AppriseTarget({self.name!r})"

    async def send(self, notification: Notification) -> None:
        """Deliver in a thread, because apprise blocks on its sockets."""
        delivered = await asyncio.to_thread(
            self._apprise.notify,
            title=title(notification),
            body=markdown(notification),
            body_format="markdown",
            notify_type=_notify_type(notification.state.event),
        )
        if not delivered:
            raise DeliveryError(
                "apprise could not deliver: run `apprise -vv` with this URL to see why"
            )

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Do nothing: people receive changes only."""


def _notify_type(alert: AlertEvent) -> str:
    if alert.status == "resolved":
        return "success"
    return "failure" if alert.severity == "critical" else "warning"


async def _post(url: str, content: bytes, headers: Mapping[str, str], seconds: float) -> None:
    """Post and require a status of 200 to 299.

    Redirects are not followed: they could send a signed body elsewhere, or turn it into a GET.
    """
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=content, headers=headers, allow_redirects=False) as response,
        ):
            status = response.status
    except TimeoutError as error:
        raise DeliveryError(f"no response within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        # some of these errors quote the URL, which may be a secret
        raise DeliveryError(f"{type(error).__name__}: {_reason(error)}") from None
    if not 200 <= status < 300:
        raise DeliveryError(f"the server responded with status {status}")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    text = error.strerror if isinstance(error, OSError) else None
    return text or (f"error {number}" if number else "the server is unreachable")
