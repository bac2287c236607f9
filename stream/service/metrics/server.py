"""A small web server in threads of its own: it answers while the worker is busy, or stuck."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.service.metrics.health import Verdict

__all__ = ["Answer", "Page", "serve", "verdict_page"]

PATIENCE_SECONDS = 5.0
"""A client that is silent for so long is disconnected: each holds a thread."""


class Answer(NamedTuple):
    """What a page says."""

    status: int
    content_type: str
    body: bytes


Page = Callable[[], Answer]


def verdict_page(judge: Callable[[], Verdict]) -> Page:
    """Page of a verdict: 200 or 503, and a JSON object with the reason."""

    def page() -> Answer:
        ok, reason = judge()
        body = json.dumps({"ok": ok, "reason": reason}).encode()
        return Answer(200 if ok else 503, "application/json", body)

    return page


@contextmanager
def serve(host: str, port: int, pages: Mapping[str, Page]) -> Iterator[int]:
    """Serve pages by their paths, and give the port; 0 takes a free one.

    Raises
    ------
    SettingsError
        The address cannot be had.
    """
    try:
        server = _Server((host, port), _handler(pages))
    except OSError as error:
        raise SettingsError(
            f"the metrics cannot be served on {host}:{port} ({error}): give every worker of a "
            "machine another metrics_port, and metrics_host an address of this machine"
        ) from error
    with server:
        thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # a worker that ends must not wait for somebody who reads slowly
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up whenever they like."""


def _handler(pages: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE_SECONDS

        def do_GET(self) -> None:
            """Answer with the page of that path."""
            page = pages.get(self.path.partition("?")[0])
            known = b"pages: " + ", ".join(pages).encode() + b"\n"
            status, content_type, body = page() if page else Answer(404, "text/plain", known)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: probes come every few seconds."""

    return Handler
