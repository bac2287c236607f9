"""Every part of the service against a Kafka with exactly the privileges in the docs."""

import asyncio
import http.server
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from click.testing import CliRunner

from latentwatch.producers import BackgroundPublisher
from latentwatch.stream.cli.main import main
from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.core.topic_names import Topics
from latentwatch.stream.investigate.kafka import KafkaMessages, alert_in_kafka
from latentwatch.stream.kafka.acls import ROLES, Role, acls_of
from latentwatch.stream.kafka.connection import check_connection
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.reader import open_consumer
from latentwatch.stream.replay.kafka import Pace, Replay
from latentwatch.stream.service.app import build_app
from latentwatch.stream.service.engine import Engine
from latentwatch.stream.settings import Settings
from tests.end_to_end.parties import MESSAGES, PASSWORD, Parties, make_parties, publish
from tests.end_to_end.secure_broker import Authority, SecureBroker, secure_broker
from tests.end_to_end.service import Outputs, Service
from tests.end_to_end.traffic import ROWS, Traffic

pytestmark = pytest.mark.broker

HOOK = "0123456789abcdef"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureBroker]:
    with secure_broker(tmp_path_factory.mktemp("secure")) as broker:
        yield broker


@pytest.fixture(scope="module")
def parties(
    secure: SecureBroker, baselines: str, tmp_path_factory: pytest.TempPathFactory
) -> Parties:
    return make_parties(secure, baselines, tmp_path_factory.mktemp("signed"))


@dataclass
class Hook:
    """A web server that receives notifications."""

    bodies: list[bytes] = field(default_factory=list)
    port: int = 0


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    found = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
        thread.start()
        yield found
        listening.shutdown()
        thread.join()


@dataclass(frozen=True)
class Day:
    """The results of one day of operation."""

    outputs: Outputs
    printed: dict[str, str]
    worker_log: str
    notified: list[bytes]
    looked_into: int
    """Messages that the investigator read back."""


@pytest.fixture(scope="module")
def day(
    parties: Parties, traffic: Traffic, hook: Hook, tmp_path_factory: pytest.TempPathFactory
) -> Day:
    """Create topics; publish, judge, notify, record, replay and inspect requests."""
    folder = tmp_path_factory.mktemp("day")
    printed = {"topics": parties.run("administrator", "topics")}
    service = Service(parties.settings["worker"], folder)
    watching = Service(parties.settings["dashboard"], folder)
    worker = service.start_worker()
    try:
        for model, version, messages in (("signs", "1", MESSAGES), ("lights", "2", 1)):
            publisher = publish(parties.settings["publisher"], traffic, model, version, messages)
            assert publisher.counters.sent == messages * ROWS, publisher.counters
        watching.workers = service.workers
        watching.wait_for_requests({("signs", 0): MESSAGES * ROWS, ("lights", 0): ROWS})
        outputs = watching.outputs
        alert = outputs.alerts[0]["data"]["id"]
        printed["notify"] = notified(parties, hook, folder / "notify.log")
        url = str(folder / "recording")
        printed["record"] = parties.run("recorder", "record", "--out", url, "--until-end")
        found = alert_in_kafka(alert, parties.settings["investigator"])
        window = KafkaMessages(parties.settings["investigator"], "signs", "1", found.partition)
        looked_into = len(window.read(*window.bounds()))
        printed["replay"] = parties.run("replayer", "replay", url, "--speed", "max")
        printed["lag"] = str(asyncio.run(lag(parties.settings["dashboard"])))
        worker.stop()
    finally:
        service.end()
    return Day(outputs, printed, worker.log, hook.bodies, looked_into)


def notified(parties: Parties, hook: Hook, log: Path) -> str:
    """Run the notifier on the existing alerts; return its log."""
    settings = parties.settings["notifier"]
    target = f"--to=hook=webhook+http://127.0.0.1:{hook.port}/#env:HOOK"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "latentwatch", "notify", target],
            env={**os.environ, **settings.environment(), "HOOK": HOOK},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 30.0
    try:
        while b"notified" not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(10)
    return log.read_text()


async def lag(settings: Settings) -> int:
    """Lag of the workers in messages, given one message per partition."""
    async with WorkerLag(settings) as found:
        return await found.messages({0: 1, 1: 1})


def test_every_part_works_with_the_privileges_of_its_role(day: Day) -> None:
    assert day.printed["topics"].count("created") == len(Topics.roles())
    assert day.outputs.alerts[0]["data"]["status"] == "firing"
    assert day.outputs.dead_letter == []
    assert f"recorded {(MESSAGES + 1) * ROWS} requests" in day.printed["record"]
    assert f"replayed {(MESSAGES + 1) * ROWS} requests" in day.printed["replay"]
    (body,) = day.notified
    assert day.outputs.alerts[0]["data"]["id"].encode() in body
    assert day.looked_into > 0
    assert day.printed["lag"] in ("0", "1")  # the requests may all lie on one partition


def test_a_worker_judges_by_signed_baselines_alone(day: Day) -> None:
    status = {model: row["status"] for (model, _, _), row in day.outputs.rates.items()}
    assert status == {"signs": "ok", "lights": "no-baseline"}
    assert "baseline signed" in day.worker_log
    assert "lights/2.safetensors is not signed" in day.worker_log


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_docs_say_and_nothing_else(
    parties: Parties, day: Day, role: Role
) -> None:
    settings = parties.settings[role]
    wanted: dict[str, set[str]] = {}
    for acl in acls_of(role, settings):
        if acl.resource == "Topic":
            # Read and Write include Describe in Kafka
            wanted.setdefault(acl.name, {"DESCRIBE"}).add(acl.operation.upper())
    assert parties.secure.topic_rights(settings, asdict(parties.topics).values()) == wanted


async def write(settings: Settings, topic: str) -> None:
    async with AIOKafkaProducer(**settings.kafka_options(), enable_idempotence=True) as producer:
        async with asyncio.timeout(20):
            await producer.send_and_wait(topic, b"not by me")


async def read(settings: Settings, topic: str) -> None:
    place = TopicPartition(topic, 0)
    async with open_consumer(settings) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        async with asyncio.timeout(20):
            await consumer.getone()


@pytest.mark.parametrize(
    ("role", "deed", "topic"),
    [
        ("publisher", write, "alerts"),
        ("publisher", read, "activations"),
        ("worker", write, "activations"),
        ("replayer", write, "lane_state"),
        ("dashboard", read, "activations"),
    ],
)
def test_the_broker_refuses_what_a_role_must_not_do(
    parties: Parties, day: Day, role: Role, deed: Any, topic: str
) -> None:
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(deed(parties.settings[role], getattr(parties.topics, topic)))


def test_the_dashboard_may_not_speak_for_the_workers(parties: Parties, day: Day) -> None:
    settings = parties.settings["dashboard"]

    async def commit() -> None:
        place = TopicPartition(parties.topics.alerts, 0)
        async with open_consumer(settings, group_id="vision") as consumer:
            consumer.assign([place])
            await consumer.commit({place: 0})

    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(commit())


def wrong(secure: SecureBroker, case: str, folder: Path) -> dict[str, Any]:
    """Settings that the broker refuses."""
    foreign = Authority(folder, "foreign")
    plain = secure.broker.bootstrap_servers
    right = PASSWORD.format(role="worker")
    return {
        "password": lambda: secure.sasl("worker", "guess"),
        "user": lambda: secure.sasl("mallory", right),
        "mechanism": lambda: secure.sasl("worker", right, sasl_mechanism="PLAIN"),
        "authority": lambda: secure.sasl("worker", right, ssl_cafile=foreign.file),
        "no certificate": lambda: secure.tls(None),
        "expired": lambda: secure.tls(secure.authority.issue("late", expired=True)),
        "foreign": lambda: secure.tls(foreign.issue("publisher")),
        "no TLS": lambda: {"bootstrap_servers": secure.tls(None)["bootstrap_servers"]},
        "TLS": lambda: secure.tls(None, bootstrap_servers=plain),
        "no rights": lambda: secure.tls(secure.authority.issue("mallory")),
    }[case]()


@pytest.mark.parametrize(
    ("case", "advice"),
    [
        ("password", r"user 'worker' or the password is wrong\. Check sasl_username"),
        ("user", "the broker has credentials for this user"),
        ("mechanism", "does not offer sasl_mechanism PLAIN"),
        ("authority", r"cannot be trusted .*\. Set ssl_cafile to the authority that issued it"),
        ("no certificate", r"requires a client certificate\. Set ssl_certfile"),
        ("expired", r"does not accept the certificate .*late.*\. Check that it has not expired"),
        ("foreign", "issued by an authority that the broker trusts"),
        ("no TLS", r"does not speak PLAINTEXT on this port\. Check security_protocol"),
        ("TLS", r"does not speak SSL on this port\. Check security_protocol"),
        (
            "no rights",
            r"no permission on topic vision\.act.*, group vision\. .* acls worker",
        ),
    ],
)
def test_a_refusal_says_what_to_do(
    parties: Parties, tmp_path: Path, case: str, advice: str
) -> None:
    settings = Settings(
        **wrong(parties.secure, case, tmp_path), topic_prefix="vision.", application_id="vision"
    )
    with pytest.raises(BrokerError, match=advice):
        check_connection(settings, "worker")


@pytest.mark.parametrize(
    "words",
    [
        ["topics"],
        ["worker"],
        ["record", "--out", "{folder}/recording"],
        ["notify", "--to", "alertmanager+http://127.0.0.1:9"],
        ["inspect", "f69680d3", "--out", "{folder}/report"],
    ],
    ids=lambda words: words[0],
)
def test_commands_with_a_wrong_password_end_with_one_line(
    parties: Parties, tmp_path: Path, words: list[str]
) -> None:
    settings = Settings(**parties.secure.sasl("worker", "guess-what"))
    done = CliRunner().invoke(
        main, [word.format(folder=tmp_path) for word in words], env=settings.environment()
    )
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert "user 'worker' or the password is wrong" in line
    assert "guess-what" not in line


def test_a_publisher_with_a_wrong_password_says_so_and_blocks_nothing(
    parties: Parties, traffic: Traffic, caplog: pytest.LogCaptureFixture
) -> None:
    options = parties.secure.sasl("publisher", "guess-what")
    settings = Settings(**options, topic_prefix="vision.")
    with caplog.at_level(logging.DEBUG):
        kafka = settings.kafka_options()
        publisher = BackgroundPublisher(
            kafka.pop("bootstrap_servers"), "signs", "1", topic="vision.activations", **kafka
        )
        publisher.start()
        activations, predicted = traffic.draw(4, np.random.default_rng(0))
        publisher.publish(activations, predicted)
        publisher.flush(1.0)
        publisher.close(1.0)
    assert publisher.counters.sent == 0
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512" in caplog.text
    assert "cannot publish to vision.activations, will retry" in caplog.text
    assert "guess-what" not in caplog.text + repr(publisher) + repr(publisher.__dict__)


def test_passwords_are_in_no_log_and_no_repr(
    parties: Parties, day: Day, caplog: pytest.LogCaptureFixture
) -> None:
    settings = parties.settings["worker"]
    with caplog.at_level(logging.DEBUG):
        check_connection(settings, "worker")
        engine = Engine(settings)
        app = build_app(settings, engine)
        shown = [
            settings,
            engine,
            app,
            app.conf,
            app.conf.broker_credentials,
            Replay(settings, Pace(None)),
        ]
        texts = [f"{thing!r} {thing}" for thing in shown]
        asyncio.run(lag(parties.settings["replayer"]))
        asyncio.run(engine.stop())
    assert "Authenticated as worker" in caplog.text  # the clients' own logs are among those read
    texts += [caplog.text, day.worker_log, *day.printed.values(), parties.secure.log]
    assert "open-sesame" not in "".join(texts)
