"""Alerts as a worker publishes them, and real web servers that misbehave on request."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest

from latentwatch.stream.notify.change import AlertState, alert_state


def suspect(request_id: str) -> dict[str, Any]:
    """A suspicious request of an alert."""
    return {
        "request_id": request_id,
        "p_value": 0.001,
        "energy": 100.0,
        "predicted_class": 4,
        "partition": 0,
        "offset": 25,
        "input_ref": None,
        "event_time": "2026-01-05T10:00:00.828882294Z",
    }


def alert_data(id_: str = "f69680d32f1df1bb", minute: int = 0, **changes: Any) -> dict[str, Any]:
    """Data of an alert last seen in a minute after ten o'clock."""
    return {
        "id": id_,
        "status": "firing",
        "severity": "warning",
        "model": "resnet",
        "version": "7",
        "partition": 0,
        "fired_at": "2026-01-05T10:00:00.828882294Z",
        "fired_at_offset": 25,
        "last_seen_at": f"2026-01-05T10:{minute:02d}:40.828882294Z",
        "window": {
            "requests": 64,
            "first_event_time": "2026-01-05T09:58:00.295170008Z",
            "last_event_time": "2026-01-05T10:00:00.828882294Z",
            "offsets": [{"partition": 0, "first": 24, "last": 25}],
        },
        "average_run_length": 1_000_000,
        "score": 9.28,
        "threshold": 7.47,
        "p_value": 0.00025,
        "pattern": "adversarial",
        "contamination": 0.219,
        "contamination_lower_bound": 0.012,
        "layers": {"deep": {"T": 1.4, "E": 1181.5, "score": 9.28}},
        "most_suspicious": [suspect(f"signs-{n}") for n in range(10)],
        "baseline_sha256": "80" * 32,
        "client": None,
        "atlas_technique": "AML.T0043",
        "software_version": "0.1.0",
        **changes,
    }


CLIENT = "x`<!channel>\u202e# [a](http://b)"


def about_client(**changes: Any) -> dict[str, Any]:
    """The fields that differ in an alert about a client that extracts the model."""
    offsets = [{"partition": 0, "first": 25, "last": 93}]
    begin = "2026-01-05T09:57:00.000000000Z"
    return {
        "pattern": "extraction",
        "client": CLIENT,
        "score": 14212.8,
        "threshold": 10000.0,
        "p_value": None,
        "contamination": None,
        "contamination_lower_bound": None,
        "layers": {},
        "most_suspicious": [],
        "window": {
            "requests": 180,
            "first_event_time": begin,
            "last_event_time": "2026-01-05T10:00:00.828882294Z",
            "offsets": offsets,
        },
        **changes,
    }


def state_of(*words: Any, **changes: Any) -> AlertState:
    """The same alert, as read from the topic."""
    headers = changes.pop("headers", [])
    state = alert_state(orjson.dumps({"data": alert_data(*words, **changes)}), headers)
    assert state is not None
    return state


@pytest.fixture(scope="session")
def state() -> Callable[..., AlertState]:
    """Makes states of alerts."""
    return state_of


@dataclass
class Received:
    """One request that a server got."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebServer:
    """Answers with the statuses of `answers` in turn, then with 200; "hang" answers too late."""

    answers: list[int | str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def answer(self, received: Received) -> int:
        """Take a request; return the status of the answer."""
        self.received.append(received)
        status = self.answers.pop(0) if self.answers else 200
        if isinstance(status, str):
            time.sleep(0.6)
            return 200
        return status

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Class of the handlers of this server."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                status = outer.answer(Received(self.path, names, body))
                self.send_response(status)
                self.send_header("content-length", "0")
                if status == 302:
                    self.send_header("location", f"http://{outer.address}/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server() -> Iterator[WebServer]:
    """A web server in this process."""
    web = WebServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), web.handler()) as listening:
        web.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        yield web
        listening.shutdown()
        thread.join()
