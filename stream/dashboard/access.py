"""Who may see the dashboard: this machine alone, who has the token, or whom a proxy vouches for.

ASGI middleware before everything else, so that no page can forget to ask.
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from latentwatch.stream.dashboard.options import LOOPBACK_NAMES, Options, is_loopback

__all__ = ["COOKIE", "Access", "session_cookie"]

COOKIE = "latentwatch_session"

SESSION_SECONDS = 12 * 3600

OPEN_PATHS = ("/livez", "/readyz", "/login")
"""Probes know no secrets, and who has none yet must be able to show one."""

OPEN_FOLDERS = ("/static/",)

App = Callable[..., Any]


class Access:
    """Refuses whoever may not see the dashboard.

    Parameters
    ----------
    app : ASGI application
    options : Options
    clock : callable
        Seconds since 1970.
    """

    def __init__(self, app: App, options: Options, clock: Callable[[], float] = time.time) -> None:
        self._app, self._options, self._clock = app, options, clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if not self._host_is_ours(request.headers):
            return _refused(
                421, "this name is not the dashboard's: ask by 127.0.0.1, or start it with "
                "--allowed-host NAME"
            )  # fmt: skip
        if request.method == "POST" and not _from_our_page(request):
            return _refused(403, "another site sent this form")
        path = request.url.path
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return None
        if self._options.trusted_header:
            return self._without_proxy(request)
        if self._options.token and not self._shows_token(request):
            return _who_are_you(request)
        return None

    def _host_is_ours(self, headers: Headers) -> bool:
        """Whether the name that a browser asked by is one of ours.

        A page of somebody else's may have its name point to this machine (DNS rebinding); where
        a secret cookie is asked for, such a page has none, but behind a proxy it could forge a
        header.
        """
        options = self._options
        if not is_loopback(options.host) and not options.allowed_hosts and options.token:
            return True
        name = _host_name(headers.get("host", ""))
        # an address cannot be pointed elsewhere; probes and Prometheus ask by it
        return name in LOOPBACK_NAMES or name in options.allowed_hosts or _is_address(name)

    def _without_proxy(self, request: Request) -> Response | None:
        client = request.client.host if request.client else ""
        if not self._is_trusted(client):
            return _refused(403, "come through the proxy: this address is no --trusted-proxy")
        user = request.headers.get(self._options.trusted_header, "")
        if not user:
            return _refused(401, f"the proxy sent no {self._options.trusted_header}")
        request.scope["user_name"] = user[:200]
        return None

    def _is_trusted(self, client: str) -> bool:
        return _is_address(client) and any(
            ipaddress.ip_address(client) in network for network in self._options.trusted_proxies
        )

    def _shows_token(self, request: Request) -> bool:
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return same(shown.strip(), self._options.token)
        return is_session(request.cookies.get(COOKIE, ""), self._options.token, self._clock())


def same(shown: str, secret: str) -> bool:
    """Whether two texts are equal; the time that it takes tells nothing of the secret."""
    return hmac.compare_digest(shown.encode(), secret.encode())


def session_cookie(token: str, now: float) -> str:
    """What a browser keeps in place of the token; a new token makes all of them void.

    Examples
    --------
    >>> is_session(session_cookie("correct horse battery", 0.0), "correct horse battery", 60.0)
    True
    >>> is_session(session_cookie("correct horse battery", 0.0), "another one", 60.0)
    False
    """
    ends = str(int(now + SESSION_SECONDS))
    return f"{ends}.{_signature(token, ends)}"


def is_session(cookie: str, token: str, now: float) -> bool:
    """Whether a cookie is one of ours, and not too old."""
    ends, _, signature = cookie.partition(".")
    return same(signature, _signature(token, ends)) and ends.isdecimal() and now < int(ends)


def _signature(token: str, ends: str) -> str:
    return hmac.new(token.encode(), f"dashboard session {ends}".encode(), sha256).hexdigest()


def _host_name(host: str) -> str:
    """A Host header without its port; IPv6 keeps its brackets."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _from_our_page(request: Request) -> bool:
    """Browsers say where a form comes from; programs say nothing."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _who_are_you(request: Request) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/login", status_code=303)
    refused = _refused(401, "show the token: Authorization: Bearer TOKEN, or log in at /login")
    refused.headers["www-authenticate"] = "Bearer"
    return refused


def _refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)
