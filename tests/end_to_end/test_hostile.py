"""Hostile messages become dead letters and have no other effect."""

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from latentwatch.producers.wire import ActivationBatch, Message, encode
from latentwatch.stream.core.processor import MOST_LANES
from tests.end_to_end.service import Outputs, Service
from tests.end_to_end.traffic import HOUR_NS, ROWS, START_HOUR, Traffic

pytestmark = pytest.mark.broker

MOST_BYTES = 1 << 20
NAMES = MOST_LANES + 60
HOSTILE = 0
"""Partition of all hostile messages; valid traffic is there and on partition 1."""


def rows(traffic: Traffic, count: int, **changes: Any) -> Message:
    """A message with valid rows of lights/2, except for the changes."""
    activations, predicted = traffic.draw(count, np.random.default_rng(9))
    fields: dict[str, Any] = {
        "model": "lights",
        "version": "2",
        "activations": activations,
        "predicted": predicted,
        "event_time_ns": np.full(count, START_HOUR * HOUR_NS),
        "request_ids": [f"hostile-{row}" for row in range(count)],
        "source": "/services/hostile",
        "time": "2024-05-01T00:00:00Z",
        **changes,
    }
    return encode(ActivationBatch(**fields))


def with_time(message: Message, year_ns: int) -> Message:
    """The message with another event time in its last row, which the encoder would refuse."""
    return message._replace(value=message.value[:-8] + year_ns.to_bytes(8, "little", signed=True))


def hostile_messages(traffic: Traffic) -> list[tuple[str, Message]]:
    """Messages, each with the expected reason."""
    one, two_thousand = rows(traffic, 1), 2_100_000_000 * 10**9
    denormal = {name: np.full((1, width), 1e-40, "f4") for name, width in traffic.layers.items()}
    return [
        ("bad-length", one._replace(value=one.value[:-1])),
        ("not-cloudevent", Message(b"", os.urandom(1000), [("a", None)])),  # type: ignore[list-item]
        ("not-cloudevent", Message(b"k", b"v", [("", b"")] * 20_000)),
        ("too-large", one._replace(value=bytes(3 * MOST_BYTES))),
        ("not-cloudevent", one._replace(value=bytes(100 * MOST_BYTES))),
        ("bad-time", with_time(one, 0)),
        ("bad-time", with_time(one, 4_102_444_800 * 10**9)),
        ("bad-time", rows(traffic, 1, event_time_ns=np.array([two_thousand]))),
        ("bad-class", rows(traffic, 1, predicted=np.array([2**31 - 1], "i4"))),
        ("taken", rows(traffic, 1, activations=denormal)),
    ]


async def send(service: Service, messages: list[Message]) -> None:
    """Send messages that are small enough only when compressed, each in its own batch."""
    options = service.settings.kafka_options()
    producer = AIOKafkaProducer(**options, max_request_size=1 << 30, compression_type="zstd")
    async with producer:
        for key, value, headers in messages:
            await producer.send_and_wait(
                service.topics.activations, value, key, HOSTILE, headers=headers
            )


@dataclass(frozen=True)
class Attacked:
    """The results of the attack."""

    expected: Counter[str]
    outputs: Outputs
    peak_bytes: int
    service: Service

    @property
    def letters(self) -> list[dict[str, bytes]]:
        """Headers of the dead letters."""
        return [dict(record.headers) for record in self.outputs.dead_letter]


@pytest.fixture(scope="module")
def attacked(kafka_bootstrap: str, make_service: Any, traffic: Traffic) -> Any:
    """Three hours of valid traffic mixed with all hostile messages, processed by one worker."""
    prefix = f"hostile{uuid4().hex[:8]}."
    with make_service(kafka_bootstrap, prefix, max_message_bytes=MOST_BYTES) as service:
        hostile = hostile_messages(traffic)
        spans = [
            rows(traffic, 1024, event_time_ns=(START_HOUR - n * 1024 - np.arange(1024)) * HOUR_NS)
            for n in range(2)
        ]
        invented = [rows(traffic, 1, model=f"m{n}") for n in range(NAMES)]
        # the clock of one model runs nine minutes ahead, as far as a clock may
        ahead = rows(traffic, 1, event_time_ns=np.array([time.time_ns() + 540 * 10**9]))
        sound = [traffic.message("signs", "1", hour, 0, 1) for hour in range(3)]
        worker = service.start_worker()
        service.send([(HOSTILE, *sound[0])])
        asyncio.run(send(service, [message for _, message in hostile]))
        subprocess.run(
            [
                sys.executable, "-m", "tests.end_to_end.hostile_names",
                kafka_bootstrap, service.topics.activations, str(HOSTILE),
            ],
            env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
            check=True,
        )  # fmt: skip
        asyncio.run(send(service, [*spans, ahead, sound[1]]))
        service.send([(HOSTILE, *message) for message in [*invented, sound[2]]])
        service.send([(1, *message) for message in sound])
        expected = Counter(reason for reason, _ in hostile if reason != "taken")
        expected["not-cloudevent"] += 1  # the header name that is not UTF-8
        # names with a baseline do not count against the limit
        expected["too-many-lanes"] = NAMES - MOST_LANES

        sent = 1 + len(hostile) + 1 + len(spans) + 2 + NAMES + 1

        def counted() -> bool:
            # the last message is valid; only then read the thousands of resulting records
            if service.taken(HOSTILE) < sent - 1:
                return False
            outputs = service.read()
            requests = sum(outputs.requests.get(("signs", hour), 0) for hour in range(3))
            return requests == 6 * ROWS and len(outputs.dead_letter) >= expected.total()

        service.wait_until("valid requests and dead letters", counted)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
        worker.stop()
        yield Attacked(expected, service.read(), peak, service)


def test_each_hostile_message_is_a_dead_letter_with_its_reason(attacked: Attacked) -> None:
    assert (
        Counter(letter["latentwatch-reason"].decode() for letter in attacked.letters)
        == attacked.expected
    )


def test_valid_requests_among_them_are_all_counted_in_their_hours(attacked: Attacked) -> None:
    requests = attacked.outputs.requests
    assert {hour: requests["signs", hour] for hour in range(3)} == dict.fromkeys(range(3), 2 * ROWS)
    assert attacked.outputs.alerts == []


def test_the_worker_neither_ends_nor_grows(attacked: Attacked) -> None:
    assert "Traceback" not in attacked.service.workers[0].log
    assert len(attacked.service.workers) == 1
    # it uses 150 MiB before its first message
    assert attacked.peak_bytes < 450 << 20


def test_what_is_too_large_to_be_kept_is_cut_and_says_so(attacked: Attacked) -> None:
    (large,) = [x for x in attacked.letters if x["latentwatch-reason"] == b"too-large"]
    assert large["latentwatch-note"] == b"the value of %d bytes was cut" % (3 * MOST_BYTES)
    noted = [
        letter["latentwatch-note"] for letter in attacked.letters if "latentwatch-note" in letter
    ]
    assert sum(b"cannot be read" in note for note in noted) == 1


def test_a_poisoned_clock_closes_the_hours_of_its_own_model_alone(attacked: Attacked) -> None:
    # each hour of signs was closed once, by silence; closing one early would publish it twice
    revisions = [
        event["data"]["revision"]
        for event in attacked.outputs.detection_rates
        if event["data"]["model"] == "signs"
    ]
    assert max(revisions) <= 2
