"""asyncapi.yaml says what the code does: addresses, examples, events that are really emitted."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator

from latentwatch.detector import Baseline
from latentwatch.producers.wire import ActivationBatch, EndOfStream, decode, encode, encode_end
from latentwatch.stream.core.events import (
    AlertEvent,
    DeadLetter,
    FlaggedRequest,
    RateRow,
    Record,
)
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import AlertChange, Lane, LaneKey
from latentwatch.stream.core.policy import Policy
from latentwatch.stream.core.rates import RateAggregator
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.settings import Settings

DOCUMENT = yaml.safe_load(Path(__file__).parents[1].joinpath("asyncapi.yaml").read_text())
MESSAGES = DOCUMENT["components"]["messages"]
TOPICS = Settings().topics()


def validator(message: str, part: str) -> Draft202012Validator:
    schema = {**MESSAGES[message][part], "components": DOCUMENT["components"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_addresses_are_the_defaults_of_the_settings() -> None:
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == {getattr(TOPICS, role) for role in TOPICS.roles()}


def test_every_reference_leads_somewhere() -> None:
    def resolve(path: str) -> Any:
        node = DOCUMENT
        for step in path.removeprefix("#/").split("/"):
            node = node[step]
        return node

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert resolve(node["$ref"]) is not None
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(DOCUMENT)


@pytest.mark.parametrize("name", [n for n, m in MESSAGES.items() if "examples" in m])
def test_examples_fit_their_schemas(name: str) -> None:
    for example in MESSAGES[name]["examples"]:
        validator(name, "payload").validate(example["payload"])
        if "headers" in MESSAGES[name]:
            validator(name, "headers").validate(example["headers"])


EVENTS: dict[str, Any] = {
    "alert": AlertEvent,
    "flaggedRequest": FlaggedRequest,
    "detectionRate": RateRow,
}


@pytest.mark.parametrize("name", EVENTS)
def test_examples_are_read_and_come_back_the_same(name: str) -> None:
    for example in MESSAGES[name]["examples"]:
        payload = example["payload"]
        event = EVENTS[name].from_json(orjson.dumps(payload))
        assert EVENTS[name].from_json(payload) == event
        written = orjson.loads(event.to_record(TOPICS).value or b"")
        assert written == payload


@pytest.mark.parametrize("name", EVENTS)
def test_the_classes_have_the_members_of_the_schema(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert {field.name for field in fields(EVENTS[name])} == set(schema["properties"])


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    """Of the model m/1, in two layers."""
    rng = np.random.default_rng(5)
    layers = {"early": rng.standard_normal((600, 4)), "deep": rng.standard_normal((600, 6))}
    return Baseline.fit(
        layers,
        rng.integers(0, 2, 600),
        model="m",
        version="1",
        longest_window=64,
        random_features=32,
        simulated_requests=20_000,
    )


@pytest.fixture(scope="module")
def records(baseline: Baseline) -> list[Record]:
    """What a lane and a rate book emit on two hours, the second one attacked."""
    rng = np.random.default_rng(6)
    policy = Policy(average_run_length=100_000, resolve_after_requests=64, allowed_lateness_ns=0)
    lane = Lane(LaneKey("m", "1", 2), baseline, policy)
    outputs = []
    for offset in range(40):
        outputs += lane.take(batch(rng, offset, scale=4.0 if 20 <= offset < 30 else 1.0), offset)
    outputs += lane.close()
    unknown = Lane(LaneKey("unknown", "1", 0), None, policy)
    unknown.take(batch(rng, 0, scale=1.0), 0)
    outputs += unknown.close()
    book = RateAggregator(lambda model, _: baseline if model == "m" else None, 0.1, 48)
    emitted = []
    for output in outputs:
        if isinstance(output, AlertChange):
            emitted.append(output.event(100_000).to_record(TOPICS))
        elif (report := book.add(HourPart.from_bytes(output.to_bytes()))) is not None:
            emitted += report.to_records(TOPICS)
    return emitted


def batch(rng: np.random.Generator, number: int, scale: float) -> ActivationBatch:
    start = (480_000 + number // 20) * HOUR_NS
    message = encode(
        ActivationBatch(
            model="m",
            version="1",
            activations={
                "early": rng.standard_normal((16, 4)).astype(np.float32),
                "deep": (scale * rng.standard_normal((16, 6))).astype(np.float32),
            },
            predicted=rng.integers(0, 2, 16).astype(np.int32),
            event_time_ns=start + np.arange(16, dtype=np.int64) * 10**9,
            request_ids=[f"{number}-{i}" for i in range(16)],
            input_refs=[None, *["file:///picture.png"] * 15],
            source="/tests",
        )
    )
    return decode(message.value, message.headers, key=message.key)


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        (TOPICS.alerts, "alert"),
        (TOPICS.detection_rates, "detectionRate"),
        (TOPICS.flagged_requests, "flaggedRequest"),
    ],
)
def test_emitted_events_fit_the_schema(records: list[Record], topic: str, message: str) -> None:
    emitted = [record for record in records if record.topic == topic]
    assert emitted, f"nothing was emitted to {topic}"
    for record in emitted:
        validator(message, "payload").validate(orjson.loads(record.value or b""))
        headers = {name: value.decode() for name, value in record.headers}
        validator(message, "headers").validate(headers)


def test_both_states_of_an_alert_and_both_kinds_of_hour_were_validated(
    records: list[Record],
) -> None:
    data = [orjson.loads(record.value or b"")["data"] for record in records]
    assert {"firing", "resolved"} <= {d["status"] for d in data if "severity" in d}
    assert {"ok", "no-baseline"} <= {d["status"] for d in data if "unjudged" in d}


@pytest.fixture(scope="module")
def about_client(baseline: Baseline) -> list[dict[str, Any]]:
    """Events about a client who asks about one thing again and again, by small steps."""
    rng = np.random.default_rng(7)
    lane = Lane(
        LaneKey("m", "1", 2), baseline, Policy(average_run_length=1000, resolve_after_requests=64)
    )
    records = []
    for number in range(200):
        honest = batch(rng, number, scale=1.0)
        near = {name: 0.1 * rows + 1.0 for name, rows in honest.activations.items()}
        clients = ["copier"] * len(honest)
        asked = replace(honest, activations=near, clients=clients) if number < 10 else honest
        records += lane.take(asked, number)
    changes = [output for output in records if isinstance(output, AlertChange)]
    events = [orjson.loads(c.event(1000).to_record(TOPICS).value or b"") for c in changes]
    return [event for event in events if event["data"]["pattern"] == "extraction"]


def test_events_about_a_client_fit_the_schema(about_client: list[dict[str, Any]]) -> None:
    assert {event["data"]["status"] for event in about_client} == {"firing", "resolved"}
    for event in about_client:
        validator("alert", "payload").validate(event)


@pytest.mark.parametrize(
    "changes", [{"client": None}, {"pattern": "drift"}, {"p_value": 0.01}, {"client": "x" * 257}]
)
def test_no_event_is_about_a_client_and_a_window(
    about_client: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    event = about_client[0]
    mixed = event | {"data": event["data"] | changes}
    assert not validator("alert", "payload").is_valid(mixed)


def test_encoded_activations_fit_the_schema() -> None:
    message = encode(
        ActivationBatch(
            model="m",
            version="1",
            activations={"deep": np.zeros((2, 3), dtype=np.float16)},
            predicted=np.zeros(2, dtype=np.int32),
            event_time_ns=np.full(2, 480_000 * HOUR_NS, dtype=np.int64),
            request_ids=["a", "b"],
            source="/tests",
        )
    )
    headers = {name: value.decode() for name, value in message.headers}
    validator("activations", "headers").validate(headers)
    length = int(headers["inference-header-content-length"])
    validator("activations", "payload").validate(orjson.loads(message.value[:length]))


def test_ends_of_streams_fit_the_schema() -> None:
    message = encode_end(
        EndOfStream("m", "1"), source="/tests", event_id="e", time="2026-01-05T10:00:00Z"
    )
    headers = {name: value.decode() for name, value in message.headers}
    validator("endOfStream", "headers").validate(headers)
    validator("endOfStream", "payload").validate(message.value.decode())


def test_dead_letters_fit_the_schema() -> None:
    letter = DeadLetter(
        topic=TOPICS.activations,
        partition=4,
        offset=75,
        value=b"garbage",
        key=b"resnet/7",
        headers=[],
        reason="not-cloudevent",
        detail="header ce_specversion is missing",
    )
    record = letter.to_record(TOPICS)
    headers = {name: value.decode() for name, value in record.headers}
    validator("deadLetter", "headers").validate(headers)
