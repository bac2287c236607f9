import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.service.metrics import Observer, make_observer
from latentwatch.stream.service.metrics.health import Health, Verdict
from latentwatch.stream.service.metrics.server import Answer, serve, verdict_page
from latentwatch.stream.settings import Settings


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def page(text: bytes) -> Callable[[], Answer]:
    return lambda: Answer(200, "text/plain", text)


def test_pages_are_found_by_their_paths_alone() -> None:
    with serve("127.0.0.1", 0, {"/a": page(b"one"), "/b": page(b"two")}) as port:
        assert get(port, "/a") == (200, b"one")
        assert get(port, "/b?x=1") == (200, b"two")
        assert get(port, "/../etc/passwd") == (404, b"pages: /a, /b\n")


def test_a_verdict_has_its_status_and_its_reason() -> None:
    verdicts = iter([Verdict(True, "5 messages wait"), Verdict(False, "stuck")])
    with serve("127.0.0.1", 0, {"/livez": verdict_page(lambda: next(verdicts))}) as port:
        good, bad = get(port, "/livez"), get(port, "/livez")
    assert (good[0], json.loads(good[1])) == (200, {"ok": True, "reason": "5 messages wait"})
    assert (bad[0], json.loads(bad[1])) == (503, {"ok": False, "reason": "stuck"})


def test_clients_that_say_nothing_keep_nobody_waiting_not_even_the_end() -> None:
    with serve("127.0.0.1", 0, {"/a": page(b"one")}) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        assert get(port, "/a") == (200, b"one")
    for connection in silent:
        connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    with (
        serve("127.0.0.1", 0, {}) as port,
        pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} .* another metrics_port"),
        serve("127.0.0.1", port, {}),
    ):
        pass


def test_a_worker_without_metrics_needs_no_prometheus_client() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "import latentwatch.stream.service.app\n"
        "from latentwatch.stream.service.engine import Engine\n"
        "from latentwatch.stream.settings import Settings\n"
        "print(type(Engine(Settings()).observer).__name__)\n"
        "Engine(Settings(metrics_port=9464))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "Observer\n", ended.stderr
    assert "SettingsError: metrics_port needs the extra metrics" in ended.stderr


def test_metrics_are_off_unless_a_port_is_set() -> None:
    health = Health(20.0, now=0.0)
    assert type(make_observer(Settings(), health)) is Observer
    assert (
        b"latentwatch_build_info" in make_observer(Settings(metrics_port=9464), health).exposition()
    )
