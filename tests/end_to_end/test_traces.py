"""An attack, and the way from its alert to the traces of the requests that published it."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from latentwatch.producers import BackgroundPublisher
from latentwatch.stream.cli.main import main
from latentwatch.stream.kafka.reader import read_topic
from tests.end_to_end.traffic import HOUR_NS, START_HOUR, Traffic

pytestmark = pytest.mark.broker

CALLS, ROWS, CLEAN_CALLS = 12, 32, 6


class Collector:
    """Takes spans as an OpenTelemetry collector does, over HTTP, and keeps them."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/v1/traces":
                    collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            told = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.services.add(told["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()


def trace_id(request_id: str) -> str:
    """Trace of a request of this test."""
    call, row = map(int, request_id.removeprefix("request-").split("-"))
    return f"{(call + 1) << 16 | row:032x}"


def publish(service: Any) -> None:
    """As a service does: each request has a trace of its own; the attack begins in the middle."""
    settings, traffic = service.settings, Traffic()
    with BackgroundPublisher(
        settings.bootstrap_servers, "signs", "1", topic=service.topics.activations, datatype="FP32"
    ) as publisher:
        for call in range(CALLS):
            attacked = 16 if call >= CLEAN_CALLS else 0
            arrays = traffic.draw(ROWS, np.random.default_rng([11, call]), attacked)
            ids = [f"request-{call}-{row}" for row in range(ROWS)]
            assert publisher.publish(
                *arrays,
                request_ids=ids,
                event_time_ns=START_HOUR * HOUR_NS + (call * ROWS + np.arange(ROWS)) * 10**9,
                traceparent=[f"00-{trace_id(name)}-{1:016x}-01" for name in ids],
            )


async def records(service: Any, topic: str, partitions: int) -> list[Any]:
    found = read_topic(service.settings, topic, partitions=range(partitions))
    return [record async for record in found]


@dataclass
class Traced:
    """What came out of one worker with traces."""

    alerts: list[Any]
    spans: list[Span]
    collector: Collector
    environment: dict[str, str] = field(repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """Of the first alert."""
        data: dict[str, Any] = orjson.loads(self.alerts[0].value)["data"]
        return data


@pytest.fixture(scope="module")
def traced(kafka_bootstrap: str, make_service: Any) -> Iterator[Traced]:
    with (
        collecting() as collector,
        pytest.MonkeyPatch.context() as patch,
        make_service(
            kafka_bootstrap, "traced.", traces=True, partitions=1, output_partitions=1
        ) as service,
    ):
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        worker = service.start_worker()
        publish(service)
        service.wait_for_requests({("signs", 0): CALLS * ROWS})
        worker.stop()
        alerts = asyncio.run(records(service, service.topics.alerts, 1))
        yield Traced(alerts, collector.spans, collector, service.settings.environment())


def headers(record: Any) -> dict[str, bytes]:
    return dict(record.headers)


def suspects(traced: Traced) -> set[str]:
    return {trace_id(one["request_id"]) for one in traced.data["most_suspicious"]}


def test_the_span_of_an_alert_is_linked_to_the_traces_of_its_requests(traced: Traced) -> None:
    _, trace, span_id, _ = headers(traced.alerts[0])["traceparent"].decode().split("-")
    (span,) = [one for one in traced.spans if one.span_id.hex() == span_id]

    assert (span.name, span.kind) == ("send traced.alerts", Span.SPAN_KIND_PRODUCER)
    assert span.trace_id.hex() == trace
    assert {link.trace_id.hex() for link in span.links} == suspects(traced)
    assert len(span.links) == len(traced.data["most_suspicious"]) == 10
    told = {a.key: a.value for a in span.attributes}
    assert told["latentwatch.alert.id"].string_value == traced.data["id"]


def test_its_trace_says_where_the_time_went(traced: Traced) -> None:
    trace = headers(traced.alerts[0])["traceparent"].decode().split("-")[1]
    spans = {one.name: one for one in traced.spans if one.trace_id.hex() == trace}
    batch, flush = spans["process traced.activations"], spans["flush"]

    assert batch.kind == Span.SPAN_KIND_CONSUMER
    assert not batch.parent_span_id
    assert {spans["decide"].parent_span_id, flush.parent_span_id} == {batch.span_id}
    assert spans["send traced.alerts"].parent_span_id == flush.span_id
    told = {a.key: a.value for a in batch.attributes}
    assert told["messaging.destination.partition.id"].string_value == "0"
    assert told["messaging.batch.message_count"].int_value >= 1
    assert 0 <= told["latentwatch.oldest_message_seconds"].double_value < 120
    assert 0 < len(batch.links) <= 100
    assert traced.collector.services == {"latentwatch-worker"}


def test_values_of_alerts_have_no_trace_in_them(traced: Traced) -> None:
    for alert in traced.alerts:
        assert headers(alert)["traceparent"].decode().split("-")[1] not in alert.value.decode()


def test_a_command_finds_the_traces_without_the_worker(traced: Traced) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(main, ["traces", *words], env=traced.environment)

    newest = orjson.loads(traced.alerts[-1].value)["data"]
    expected = {one["request_id"] for one in newest["most_suspicious"]}
    found = json.loads(run(newest["id"][:12], "--json").stdout)
    assert {one["request_id"] for one in found} == expected
    assert all(one["trace_id"] == trace_id(one["request_id"]) for one in found)

    lines = run(newest["id"], "--link", "http://jaeger/trace/{trace_id}").stdout.splitlines()
    assert len(lines) == len(expected)
    assert all(line.startswith("http://jaeger/trace/0000") for line in lines)
    assert "no alert 'nonsense'" in run("nonsense").stderr
    assert "{trace_id}" in run(newest["id"], "--link", "http://jaeger").stderr


SCRIPT = """
import sys
from latentwatch.stream.service.engine import Engine
from latentwatch.stream.core.errors import SettingsError
from latentwatch.stream.settings import Settings

Engine(Settings())
assert not any(name.startswith("opentelemetry") for name in sys.modules)
sys.modules["opentelemetry"] = None  # as if it were not installed
try:
    Engine(Settings(traces=True))
except SettingsError as error:
    print(error)
"""


def test_opentelemetry_is_imported_and_needed_only_with_traces() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "pip install 'latentwatch[traces]'" in done.stdout
