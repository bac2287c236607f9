"""The web application: pages, probes, metrics and the JSON API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from latentwatch import __version__
from latentwatch.stream.dashboard.access import (
    COOKIE,
    SESSION_SECONDS,
    Access,
    SafeHeaders,
    same,
    session_cookie,
)
from latentwatch.stream.dashboard.api import api
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.metrics import exposition
from latentwatch.stream.dashboard.options import Options

__all__ = ["make_app"]

STATIC = Path(__file__).parent / "static"

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

MOST_FORM_BYTES = 8192

REFUSED_SECONDS = 0.3
"""Delay before a wrong token is refused, to slow down guessing."""


def make_app(components: Components) -> Callable[..., Any]:
    """The ASGI application; `components` need not be running."""
    # FastAPI's own documentation pages would load scripts from other servers
    app = FastAPI(
        title="latentwatch dashboard",
        version=__version__,
        description="Detection rates, alerts, flagged requests, dead letters and workers.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        openapi_tags=[{"name": "models"}, {"name": "alerts"}, {"name": "service"}],
    )
    app.include_router(api(components))
    _add_probes(app, components)
    _add_pages(app, components.options)
    app.mount("/static", StaticFiles(directory=STATIC))
    https = components.options.tls_certificate is not None
    return SafeHeaders(Access(app, components.options), https)


def _add_probes(app: FastAPI, components: Components) -> None:
    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, Any]:
        # a permanent failure ends the process, so a response means that the event loop is running
        return {"ok": True, "reason": "the event loop is running"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        ready, reason = components.follower.progress.ready
        return JSONResponse({"ok": ready, "reason": reason}, 200 if ready else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(exposition(components), media_type=TEXT_FORMAT)


def _add_pages(app: FastAPI, options: Options) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    if not options.token:
        return

    @app.get("/login", include_in_schema=False)
    async def login_page() -> FileResponse:
        return FileResponse(STATIC / "login.html")

    @app.post("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        if not same(await _token_in_form(request), options.token):
            await asyncio.sleep(REFUSED_SECONDS)
            return FileResponse(STATIC / "login-refused.html", status_code=401)
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(
            COOKIE,
            session_cookie(options.token, time.time()),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @app.post("/logout", include_in_schema=False)
    async def logout() -> Response:
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


async def _token_in_form(request: Request) -> str:
    """The token in a submitted form; empty if there is none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            return ""
    fields = parse_qs(body.decode("utf-8", "replace"))
    return fields.get("token", [""])[0].strip()
