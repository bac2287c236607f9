"""Who is told: Alertmanager, webhooks of one's own, and all that apprise knows."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import aiohttp
import orjson

from latentwatch.stream.notify import alertmanager
from latentwatch.stream.notify.change import AlertState, Notification
from latentwatch.stream.notify.errors import DeliveryError, NotifyError
from latentwatch.stream.notify.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from latentwatch.stream.notify.text import body, markdown, title

__all__ = ["AlertmanagerTarget", "AppriseTarget", "Target", "WebhookTarget"]

TIMEOUT_SECONDS = 10.0
"""A server that has not answered by then is taken for one that hangs."""

JSON = {"content-type": "application/json"}


class Target(Protocol):
    """One receiver of notifications. Its name, and its errors, hold no secret."""

    @property
    def name(self) -> str:
        """What the logs and its consumer group call it."""

    @property
    def refresh_seconds(self) -> float | None:
        """After so long it has to be reminded of what is firing; None if never."""

    async def tell(self, notification: Notification) -> None:
        """Deliver; `DeliveryError` if it cannot be said that it arrived."""

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Remind it of the alerts that are firing."""


class AlertmanagerTarget:
    """Alertmanager, through version 2 of its API.

    Parameters
    ----------
    name, url : str
        The address without ``/api/v2/alerts``.
    resend_seconds : float
        Alerts that are firing are sent again so often; after twice as long they expire.
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

    async def tell(self, notification: Notification) -> None:
        """Post the alert; one whose severity changed ends under the former one."""
        await self._post(alertmanager.changed_alerts(notification, self._clock(), self._resend))

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Post all that is firing once more."""
        now = self._clock()
        await self._post([alertmanager.firing_alert(s, now, self._resend) for s in firing])

    async def _post(self, alerts: list[dict[str, Any]]) -> None:
        if alerts:
            await _post(self._url, orjson.dumps(alerts), JSON, self._timeout)


class WebhookTarget:
    """A web server that is sent signed JSON.

    Parameters
    ----------
    name, url : str
    secret : bytes
        Key of the signatures.
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

    async def tell(self, notification: Notification) -> None:
        """Post the change; its body is the same at every try, its time and signature are not."""
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
        """Nothing: a webhook is told of changes alone."""


def webhook_body(notification: Notification) -> bytes:
    """JSON: the words, the alert as the topic has it, and what was told before."""
    before = notification.previous
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
    """A chat, a pager, a mailbox: whatever apprise knows the URL of.

    Parameters
    ----------
    name, url : str

    Raises
    ------
    NotifyError
        If apprise does not understand the URL; the message does not repeat it.
    """

    refresh_seconds: float | None = None

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        # its messages may repeat parts of the URL, and those are passwords
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            # apprise imports modules that Python is about to drop
            warnings.simplefilter("ignore", DeprecationWarning)
            import apprise

            self._apprise = apprise.Apprise()
            understood = self._apprise.add(url)
        if not understood:
            raise NotifyError(
                f"target {name!r}: apprise does not understand the URL; look up its form at "
                "https://github.com/caronc/apprise/wiki"
            )

    def __repr__(self) -> str:
        return f"AppriseTarget({self.name!r})"

    async def tell(self, notification: Notification) -> None:
        """Deliver in a thread: apprise waits for its sockets."""
        delivered = await asyncio.to_thread(
            self._apprise.notify,
            title=title(notification),
            body=markdown(notification),
            body_format="markdown",
            notify_type=_notify_type(notification.state),
        )
        if not delivered:
            raise DeliveryError("apprise could not deliver: see `apprise -vv` with this URL")

    async def refresh(self, firing: Sequence[AlertState]) -> None:
        """Nothing: people are told of changes alone."""


def _notify_type(state: AlertState) -> str:
    if state.status == "resolved":
        return "success"
    return "failure" if state.severity == "critical" else "warning"


async def _post(url: str, content: bytes, headers: Mapping[str, str], seconds: float) -> None:
    """Post, and see that the answer is one of success.

    Redirects are not followed: they would lead a signed body elsewhere, or turn it into a GET.
    """
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=content, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
    except TimeoutError as error:
        raise DeliveryError(f"no answer within {seconds:g} s") from error
    except (aiohttp.ClientError, OSError) as error:
        # the text of some errors has the URL in it, and that may be a secret
        raise DeliveryError(f"{type(error).__name__}: {_reason(error)}") from None
    if not 200 <= status < 300:
        raise DeliveryError(f"the server answered {status}")


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    told = error.strerror if isinstance(error, OSError) else None
    return told or (f"error {number}" if number else "the server cannot be reached")
