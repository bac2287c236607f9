"""Runs the dashboard until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from latentwatch.stream.dashboard.app import make_app
from latentwatch.stream.dashboard.changes import Changes
from latentwatch.stream.dashboard.components import Parts
from latentwatch.stream.dashboard.errors import DashboardError
from latentwatch.stream.dashboard.options import Options
from latentwatch.stream.dashboard.records import ROLES
from latentwatch.stream.dashboard.store import Store
from latentwatch.stream.settings import Settings

__all__ = ["run_dashboard"]

STOP_SECONDS = 3

MOST_CONNECTIONS = 500
"""Whoever opens more is turned away: each takes memory."""


def run_dashboard(settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    settings : Settings
    options : Options
    say : callable
        Is told the address when it can be asked for.

    Raises
    ------
    DashboardError
        The port or the history cannot be had.
    """
    topics = settings.topics()
    with (
        _listening(options) as listening,
        Store(options.history, (getattr(topics, r) for r in ROLES), options.keep_days) as store,
    ):
        bound = replace(options, port=listening.getsockname()[1])
        try:
            asyncio.run(_run(settings, bound, store, listening, say))
        except ExceptionGroup as errors:
            raise explained(errors, options.history) from errors


def explained(errors: ExceptionGroup, history: Path) -> Exception:
    """What people read: what to do about a history that cannot be written; else what it is."""
    found, _ = errors.split(sqlite3.Error)
    if found is None:
        return errors
    first: BaseException = found
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return DashboardError(
        f"the history {history} cannot be written ({first}): see that the disk has room, and "
        "start again"
    )


async def _run(
    settings: Settings,
    options: Options,
    store: Store,
    listening: socket.socket,
    say: Callable[[str], None],
) -> None:
    parts = Parts.make(settings, options, store)
    server = _Server(_config(parts), parts.changes)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(parts.run())
        # from here on the kernel takes connections in; they are answered as soon as uvicorn runs
        say(options.url)
        await server.serve(sockets=[listening])
        running.cancel()


def _config(parts: Parts) -> uvicorn.Config:
    options = parts.options
    return uvicorn.Config(
        make_app(parts),
        log_config=None,
        access_log=False,
        server_header=False,
        # who asks is told by the connection: anybody can write such a header
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )


class _Server(uvicorn.Server):
    """Ends the streams of events before it waits for connections to end, and then well."""

    def __init__(self, config: uvicorn.Config, changes: Changes) -> None:
        super().__init__(config)
        self._changes = changes

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again in the end: who asks us to end gets exit code 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._changes.close()
        await super().shutdown(sockets)


def _listening(options: Options) -> socket.socket:
    """The socket, before anything else is opened: a port that is taken is told at once."""
    try:
        found: list[Any] = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, address = found[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise DashboardError(
            f"{options.host}:{options.port} cannot be listened on ({error}): choose another "
            "--port, and for --host an address of this machine"
        ) from error
