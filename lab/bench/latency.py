"""How long it takes from a publisher to an alert, through a real Kafka, at half of the load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from latentwatch.lab.bench.fleet import caught_up, workers
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.lab.brokers import KafkaBroker
from latentwatch.producers.wire import ActivationBatch, encode
from latentwatch.stream.kafka.reader import Consumer, open_consumer
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

__all__ = ["latency"]

Figures = dict[str, float]
Say = Callable[[str], None]

WARM_MESSAGES = 2_000
CYCLE_MESSAGES = 24
ATTACK_MESSAGES = 2
"""Of each cycle; what follows them is long enough for the alert to resolve."""

ATTACK_SCALE = 3.0
DRAIN_SECONDS = 5.0


def latency(folder: Path, say: Say, seconds: float = 60.0, warm: int = WARM_MESSAGES) -> Figures:
    """Seconds from sending the message that completes a window to the alert; median and 99 %.

    First the worker's rate is measured, then half of it is sent, with an attack every 24 messages.
    """
    traffic = BenchTraffic()
    say("fitting a baseline")
    baselines = str(folder / "baselines")
    traffic.baseline().save(baseline_url(baselines, "bench", "1"))
    say("starting a broker")
    with KafkaBroker() as broker:
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            baselines=baselines,
            partitions=1,
            output_partitions=1,
            average_run_length=100_000,
        )
        asyncio.run(create_topics(settings))
        with workers(settings, folder):
            say("measuring the worker's rate")
            messages = _messages(traffic)
            rate = asyncio.run(_warm_up(settings, messages, warm)) / 2.0
            say(f"{rate * traffic.rows:,.0f} requests a second for {seconds:g} s")
            found = asyncio.run(_measure(settings, messages, warm, rate, seconds))
    return {
        "requests_per_second": rate * traffic.rows,
        "alerts": float(len(found)),
        "median_milliseconds": 1e3 * float(np.median(found)),
        "p99_milliseconds": 1e3 * float(np.quantile(found, 0.99)),
        "worst_milliseconds": 1e3 * float(np.max(found)),
    }


def _messages(traffic: BenchTraffic) -> Iterator[ActivationBatch]:
    """Messages without end; the last of each cycle are an attack."""
    for number, batch in enumerate(traffic.batches(10**9)):
        attacked = number % CYCLE_MESSAGES >= CYCLE_MESSAGES - ATTACK_MESSAGES
        if attacked:
            rows = batch.activations["layer4"] * np.float16(ATTACK_SCALE)
            batch = replace(batch, activations={"layer4": rows})
        yield batch


async def _warm_up(settings: Settings, messages: Iterator[ActivationBatch], count: int) -> float:
    """Messages a second that the worker takes in."""
    async with _producer(settings) as producer:
        for _ in range(count):
            await _send(settings, producer, next(messages))
    _, seconds = await caught_up(settings, {0: count})
    return count / seconds


def _producer(settings: Settings) -> AIOKafkaProducer:
    return AIOKafkaProducer(**settings.kafka_options(), compression_type="zstd", linger_ms=5)


async def _send(
    settings: Settings, producer: AIOKafkaProducer, batch: ActivationBatch
) -> asyncio.Future[object]:
    message = encode(batch)
    future: asyncio.Future[object] = await producer.send(
        settings.topics().activations,
        message.value,
        message.key,
        partition=0,
        headers=message.headers,
    )
    return future


async def _measure(
    settings: Settings,
    messages: Iterator[ActivationBatch],
    first: int,
    rate: float,
    seconds: float,
) -> list[float]:
    """Delay of each alert, by the offset of the message that completed its window."""
    sent: dict[int, float] = {}
    delays: list[float] = []
    reader = open_consumer(settings, settings.topics().alerts)
    async with reader, _producer(settings) as producer:
        await reader.seek_to_end()
        reading = asyncio.create_task(_read(reader, sent, delays))
        started = time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
            sent[first + number] = time.perf_counter()
            await _send(settings, producer, next(messages))
        await asyncio.sleep(DRAIN_SECONDS)
        reading.cancel()
    return delays


async def _read(reader: Consumer, sent: dict[int, float], delays: list[float]) -> None:
    known = set()
    async for record in reader:
        alert = orjson.loads(record.value)["data"]
        last = alert["window"]["offsets"][0]["last"]
        if alert["id"] not in known and last in sent:
            delays.append(time.perf_counter() - sent[last])
        known.add(alert["id"])
