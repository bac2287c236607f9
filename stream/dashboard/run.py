"""Runs the dashboard until it receives SIGINT or SIGTERM."""

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
from latentwatch.stream.dashboard.components import Components
from latentwatch.stream.dashboard.options import DashboardError, Options
from latentwatch.stream.dashboard.records import ROLES
from latentwatch.stream.dashboard.store import Store
from latentwatch.stream.settings import Settings

__all__ = ["run_dashboard"]

STOP_SECONDS = 3

MOST_CONNECTIONS = 500
"""Further connections are refused, because each takes memory."""


def run_dashboard(settings: Settings, options: Options, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    settings : Settings
    options : Options
    say : callable
        Receives the URL once the dashboard accepts connections.

    Raises
    ------
    DashboardError
        The port or the history is not available.
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
    """The error to show: what to do about an unwritable history; any other error unchanged."""
    found, _ = errors.split(sqlite3.Error)
    if found is None:
        return errors
    first: BaseException = found
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return DashboardError(
        f"the history {history} cannot be written ({first}): check that the disk has space, then "
        "start again"
    )


async def _run(
    settings: Settings,
    options: Options,
    store: Store,
    listening: socket.socket,
    say: Callable[[str], None],
) -> None:
    components = Components.make(settings, options, store)
    server = _Server(_config(components), components.changes)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(components.run())
        # the kernel queues connections from here on, and uvicorn serves them as soon as it runs
        say(options.url)
        await server.serve(sockets=[listening])
        running.cancel()


def _config(components: Components) -> uvicorn.Config:
    options = components.options
    return uvicorn.Config(
        make_app(components),
        log_config=None,
        access_log=False,
        server_header=False,
        # the client is identified by its connection, because anyone can forge such a header
        proxy_headers=False,
        lifespan="off",
        ws="none",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=options.tls_key,
    )


class _Server(uvicorn.Server):
    """Closes the event streams before it waits for connections, and exits with code 0."""

    def __init__(self, config: uvicorn.Config, changes: Changes) -> None:
        super().__init__(config)
        self._changes = changes

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again at the end; a requested stop should exit with code 0
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._changes.close()
        await super().shutdown(sockets)


def _listening(options: Options) -> socket.socket:
    """The socket, opened before anything else so that a port in use is reported at once."""
    try:
        found: list[Any] = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, *_, address = found[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        raise DashboardError(
            f"{options.host}:{options.port} cannot be listened on ({error}): choose another "
            "--port, and one of this machine's addresses as --host"
        ) from error
