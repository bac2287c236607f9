"""Headers of every answer: what a page of ours may do, and that nobody keeps a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.datastructures import MutableHeaders

__all__ = ["CONTENT_SECURITY_POLICY", "SafeHeaders"]

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


class SafeHeaders:
    """Adds the headers, to refusals and errors as well.

    Parameters
    ----------
    app : ASGI application
    https : bool
        Whether browsers shall insist on HTTPS from now on.
    """

    def __init__(self, app: Callable[..., Any], https: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if https:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with more headers."""

        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                # files of ours are asked for again at each visit, and rarely sent again
                kept = scope["path"].startswith("/static/")
                headers["cache-control"] = "no-cache" if kept else "no-store"
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
