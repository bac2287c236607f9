"""Access control and security headers, as ASGI middleware in front of every page.

The dashboard is open to this machine alone, to holders of the token, or to users that a trusted
proxy has authenticated.
"""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from latentwatch.stream.dashboard.options import LOOPBACK_NAMES, Options, is_loopback

__all__ = ["COOKIE", "Access", "SafeHeaders", "session_cookie"]

COOKIE = "latentwatch_session"

SESSION_SECONDS = 12 * 3600

OPEN_PATHS = ("/livez", "/readyz", "/login")
"""Probes have no token, and people without one need the login page."""

OPEN_FOLDERS = ("/static/",)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

App = Callable[..., Any]


class Access:
    """Refuses requests from anyone who may not see the dashboard.

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
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if not self._host_is_ours(request.headers):
            return _refused(
                421, "this host name is not allowed: use 127.0.0.1, or start the dashboard with "
                "--allowed-host NAME"
            )  # fmt: skip
        if request.method == "POST" and not _from_our_page(request):
            return _refused(
                403, "this form was sent by another site: open the dashboard and use its own form"
            )
        path = request.url.path
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return None
        if self._options.trusted_header:
            return self._without_proxy(request)
        if self._options.token and not self._shows_token(request):
            return _login_required(request)
        return None

    def _host_is_ours(self, headers: Headers) -> bool:
        """Whether the host name in a request is one of ours.

        A foreign page can have its own name resolve to this machine (DNS rebinding). Where a token
        is required that does no harm, because the page has no cookie for it. Behind a proxy it
        could forge the user's header.
        """
        options = self._options
        if not is_loopback(options.host) and not options.allowed_hosts and options.token:
            return True
        name = _host_name(headers.get("host", ""))
        # an IP address cannot be rebound, and probes and Prometheus use it
        return name in LOOPBACK_NAMES or name in options.allowed_hosts or _is_address(name)

    def _without_proxy(self, request: Request) -> Response | None:
        client = request.client.host if request.client else ""
        if not self._is_trusted(client):
            return _refused(403, "this address is not a --trusted-proxy: connect through the proxy")
        user = request.headers.get(self._options.trusted_header, "")
        if not user:
            return _refused(
                401, f"the header {self._options.trusted_header} is missing: have the proxy set it"
            )
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


class SafeHeaders:
    """Adds the security headers to every response, including refusals and errors.

    Parameters
    ----------
    app : ASGI application
    https : bool
        Whether to tell browsers to require HTTPS from now on.
    """

    def __init__(self, app: App, https: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if https:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, and add headers to its response."""

        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                # browsers revalidate static files at each visit, which rarely sends them again
                kept = scope["path"].startswith("/static/")
                headers["cache-control"] = "no-cache" if kept else "no-store"
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)


def same(shown: str, secret: str) -> bool:
    """Whether two texts are equal, compared in constant time."""
    return hmac.compare_digest(shown.encode(), secret.encode())


def session_cookie(token: str, now: float) -> str:
    """The cookie that a browser gets instead of the token; it is void once the token changes.

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
    """Whether a cookie is genuine and has not expired."""
    ends, _, signature = cookie.partition(".")
    return same(signature, _signature(token, ends)) and ends.isdecimal() and now < int(ends)


def _signature(token: str, ends: str) -> str:
    return hmac.new(token.encode(), f"dashboard session {ends}".encode(), sha256).hexdigest()


def _host_name(host: str) -> str:
    """A Host header without its port; an IPv6 address keeps its brackets."""
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
    """Whether a form was sent by one of our pages, or by a program, which sends no such header."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _login_required(request: Request) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/login", status_code=303)
    refused = _refused(
        401, "a token is required: send Authorization: Bearer TOKEN, or log in at /login"
    )
    refused.headers["www-authenticate"] = "Bearer"
    return refused


def _refused(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)
