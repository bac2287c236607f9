"""Alerts in a real Kafka, delivered by processes that are killed: every change, once."""

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from latentwatch.lab.brokers.java import find_java, kafka_jars
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings
from tests.stream.notify.conftest import alert_data

pytestmark = pytest.mark.broker

DOCS = Path(__file__).parents[2] / "docs" / "subscribers.md"
PROGRAM = "from latentwatch.stream.cli.notify import notify; notify()"
PATIENCE_SECONDS = 60.0

Change = tuple[str, int, str, str]
"""Alert, minute of the record, status, severity."""


ALL = [
    "a/firing/warning",
    "b/firing/warning",
    "a/firing/critical",
    "a/resolved/critical",
    "b/resolved/warning",
]


def event(change: Change) -> tuple[bytes, bytes]:
    id_, minute, status, severity = change
    changes = {"status": status, "severity": severity, "model": "signs", "version": "1"}
    data = alert_data(id_, minute, **changes)
    return id_.encode(), orjson.dumps({"data": data})


def publish(settings: Settings, *changes: Change | bytes | None) -> None:
    """What a worker writes into the alerts topic; bytes and None go in as they are."""

    async def produce() -> None:
        async with AIOKafkaProducer(**settings.kafka_options()) as producer:
            for change in changes:
                key, value = event(change) if isinstance(change, tuple) else (b"x", change)
                await producer.send_and_wait(settings.topics().alerts, value, key)

    asyncio.run(produce())


@dataclass
class Receivers:
    """A web server with one path per target; a path can be made to fail."""

    broken: set[str] = field(default_factory=set)
    before_answer: Callable[[], None] = lambda: None
    received: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    def take(self, path: str, headers: Any, body: bytes) -> int:
        """Status of the answer."""
        name = path.split("/")[1]
        if name in self.broken:
            return 503
        if name == "am":
            for alert in orjson.loads(body):
                key = alert["annotations"]["idempotency_key"]
                self.received.append((name, f"{key} {alert['labels']['severity']}"))
        else:
            self.received.append((name, headers["idempotency-key"]))
            self.before_answer()
        return 200

    def keys(self, name: str) -> list[str]:
        """Notifications of a target, in order."""
        return [key for found, key in self.received if found == name]

    def url(self, name: str) -> str:
        """Address of a target."""
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Web servers in this process."""
    found = Receivers()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(found.take(self.path, self.headers, body))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield found
        listening.shutdown()
        thread.join()


@pytest.fixture
def topics(settings: Settings) -> Settings:
    """Settings with existing topics, the alerts in two partitions."""
    asyncio.run(
        create_topics(
            changed := settings.model_copy(update={"output_partitions": 2, "log_format": "json"})
        )
    )
    return changed


@contextmanager
def running(
    command: Sequence[str], settings: Settings, output: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a separate process; killed at the end if it is still running."""
    environment = {**os.environ, **settings.environment(), "HOOK": "0123456789abcdef"}
    with output.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def wait_until(condition: Callable[[], bool], output: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {PATIENCE_SECONDS:g} s:\n{output.read_text()[-4000:]}")
        time.sleep(0.05)


def command(receivers: Receivers, *names: str) -> list[str]:
    targets = [f"--to={name}=webhook+{receivers.url(name)}#env:HOOK" for name in names]
    alertmanager = f"--to=am=alertmanager+{receivers.url('am')}"
    return [sys.executable, "-c", PROGRAM, *targets, alertmanager, "--resend-seconds=1"]


def test_every_change_is_delivered_once_by_processes_that_are_killed(
    topics: Settings, receivers: Receivers, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    words = command(receivers, "fast", "broken")
    receivers.broken.add("broken")
    publish(topics, ("old", 0, "firing", "warning"), ("old", 1, "resolved", "warning"))
    publish(topics, b"no alert", None, ("a", 1, "firing", "warning"), ("b", 1, "firing", "warning"))
    with running(words, topics, log):
        wait_until(lambda: len(receivers.keys("fast")) == 2, log)
        publish(topics, ("a", 2, "firing", "warning"), ("a", 3, "firing", "critical"))
        wait_until(lambda: len(receivers.keys("fast")) == 3, log)
        # the commit follows the delivery; refreshing and notifying go through the same loop
        wait_until(lambda: log.read_text().count("notified") >= 4, log)
        time.sleep(1.0)

    # no process is running now, and the broken target has received nothing yet
    publish(topics, ("a", 4, "firing", "critical"), ("a", 4, "resolved", "critical"))
    assert receivers.keys("broken") == []
    receivers.broken.clear()
    with running(words, topics, log) as second:
        wait_until(lambda: len(receivers.keys("fast")) == 4, log)
        wait_until(lambda: "a/resolved/critical" in receivers.keys("broken"), log)
        publish(topics, ("b", 5, "resolved", "warning"))
        wait_until(lambda: "b/resolved/warning" in receivers.keys("broken"), log)
        wait_until(lambda: "b/resolved/warning" in receivers.keys("fast"), log)
        wait_until(lambda: "b/resolved/warning warning" in receivers.keys("am"), log)
        second.terminate()
        assert second.wait(20) == 0, log.read_text()

    assert Counter(receivers.keys("fast")) == Counter(ALL)
    assert Counter(receivers.keys("broken")) == Counter(ALL)
    assert receivers.keys("am").count("b/firing/warning warning") >= 2
    assert "a/firing/critical warning" in receivers.keys("am")


def test_a_delivery_in_progress_when_a_process_was_killed_is_repeated(
    topics: Settings, receivers: Receivers, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    words = command(receivers, "hook")
    with running(words, topics, log) as first:
        receivers.before_answer = first.kill
        publish(topics, ("a", 1, "firing", "warning"))
        first.wait(PATIENCE_SECONDS)
    receivers.before_answer = lambda: None
    publish(topics, ("a", 2, "resolved", "warning"))
    with running(words, topics, log):
        wait_until(lambda: "a/resolved/warning" in receivers.keys("hook"), log)
    assert receivers.keys("hook") == ["a/firing/warning"] * 2 + ["a/resolved/warning"]


def example(language: str, holds: str) -> str:
    """A code block from docs/subscribers.md."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = [block for block in blocks if holds in block]
    return str(code)


@pytest.mark.parametrize("language", ["python", "java"])
def test_the_subscribers_of_the_docs_run(language: str, topics: Settings, tmp_path: Path) -> None:
    if language == "python":
        program = tmp_path / "subscriber.py"
        program.write_text(example(language, "def subscribe"))
        words = [sys.executable, str(program)]
    else:
        program = tmp_path / "Subscriber.java"
        program.write_text(example(language, "class Subscriber"))
        jars = os.pathsep.join(str(jar) for jar in kafka_jars(lambda _: None))
        words = [str(find_java()), "-cp", jars, str(program)]
    publish(topics, ("a", 1, "firing", "warning"), ("a", 2, "firing", "warning"))
    publish(topics, ("a", 3, "firing", "critical"), ("a", 4, "resolved", "critical"))
    output = tmp_path / "output"
    words += [topics.bootstrap_servers, topics.topics().alerts]
    with running(words, topics, output):
        wait_until(lambda: "resolved" in output.read_text(), output)
    printed = [line for line in output.read_text().splitlines() if line.startswith("signs 1 ")]
    assert printed == [
        "signs 1 firing warning",
        "signs 1 firing critical",
        "signs 1 resolved critical",
    ]
