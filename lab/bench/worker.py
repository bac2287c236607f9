"""What a worker takes in from a real Kafka, beside a consumer that reads and drops; its state."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition

from latentwatch.detector import Baseline
from latentwatch.lab.bench.fleet import caught_up, workers
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.lab.brokers import KafkaBroker
from latentwatch.producers.wire import encode
from latentwatch.stream.core.lane import Lane, LaneKey
from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.kafka.reader import open_consumer
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

__all__ = ["state", "worker"]

Figures = dict[str, float]
Say = Callable[[str], None]

MESSAGES = 6_000
PARTITIONS = 2


def worker(folder: Path, say: Say, count: int = MESSAGES, **options: Any) -> Figures:
    """Requests a second of a bare consumer, one worker and two; start-up and recovery in seconds.

    64 requests of 512 half-precision values a message. The share of the bare consumer is that of
    processor time: on few cores the broker and a second worker take part of the wall time.
    """
    traffic = BenchTraffic()
    rows = count * traffic.rows
    say("fitting a baseline")
    baselines = str(folder / "baselines")
    traffic.baseline(**options).save(baseline_url(baselines, "bench", "1"))
    say("starting a broker")
    with KafkaBroker() as broker:
        settings = _settings(broker.bootstrap_servers, baselines, "first")
        asyncio.run(create_topics(settings))
        say(f"publishing {rows:,} requests")
        ends = asyncio.run(_publish(settings, traffic, count))
        say("a bare consumer")
        wall, processor = asyncio.run(_drop(settings, ends))
        found = {
            "bare_consumer_per_second": rows / wall,
            "bare_consumer_per_core_second": rows / processor,
        }
        say("one worker")
        before = _children_seconds()
        with workers(settings, folder):
            first, whole = asyncio.run(caught_up(settings, ends))
        found["worker_per_second"] = rows / whole
        found["worker_per_core_second"] = rows / (_children_seconds() - before)
        found["worker_to_bare_consumer"] = found["worker_per_second"] / (rows / wall)
        found["start_up_seconds"] = first
        say("killed in the middle, and another one")
        found["recovery_seconds"] = _recovery(
            _settings(broker.bootstrap_servers, baselines, "killed"), folder, ends
        )
        say("two workers")
        settings = _settings(broker.bootstrap_servers, baselines, "two")
        asyncio.run(create_topics(settings))
        with workers(settings, folder, 2):
            _, whole = asyncio.run(caught_up(settings, ends))
        found["two_workers_per_second"] = rows / whole
    return found


def _settings(servers: str, baselines: str, group: str) -> Settings:
    return Settings(
        bootstrap_servers=servers,
        baselines=baselines,
        application_id=group,
        partitions=PARTITIONS,
        output_partitions=1,
        topic_lane_state=f"lane-state-{group}" if group != "first" else "lane-state",
    )


def _children_seconds() -> float:
    """Processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _publish(settings: Settings, traffic: BenchTraffic, count: int) -> dict[int, int]:
    """Send messages to the partitions in turn; return the next offset of each."""
    ends = dict.fromkeys(range(PARTITIONS), 0)
    topic = settings.topics().activations
    async with AIOKafkaProducer(
        **settings.kafka_options(), compression_type="zstd", max_batch_size=1 << 20, linger_ms=20
    ) as producer:
        for number, batch in enumerate(traffic.batches(count)):
            message = encode(batch)
            partition = number % PARTITIONS
            await producer.send(
                topic, message.value, message.key, partition=partition, headers=message.headers
            )
            ends[partition] += 1
    return ends


async def _drop(settings: Settings, ends: dict[int, int]) -> tuple[float, float]:
    """Wall and processor seconds of a consumer that reads everything and looks at nothing."""
    topic = settings.topics().activations
    left = sum(ends.values())
    async with open_consumer(settings) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in ends])
        wall, processor = time.perf_counter(), time.process_time()
        while left:
            found = await consumer.getmany(timeout_ms=1_000)
            left -= sum(map(len, found.values()))
        return time.perf_counter() - wall, time.process_time() - processor


def _recovery(settings: Settings, folder: Path, ends: dict[int, int]) -> float:
    """Seconds from the start of a worker, after SIGKILL of the one before, to its first commit."""
    asyncio.run(create_topics(settings))
    with workers(settings, folder) as running:
        asyncio.run(_some(settings, ends))
        os.kill(running[0].pid, signal.SIGKILL)
        running[0].wait()
    started = time.perf_counter()
    before = asyncio.run(_left(settings, ends))
    with workers(settings, folder):
        while asyncio.run(_left(settings, ends)) == before:
            time.sleep(0.05)
        return time.perf_counter() - started


async def _left(settings: Settings, ends: dict[int, int]) -> int:
    async with WorkerLag(settings) as lag:
        return await lag.messages(ends)


async def _some(settings: Settings, ends: dict[int, int]) -> None:
    """Wait until something is committed, and not everything."""
    while await _left(settings, ends) > 0.9 * sum(ends.values()):
        await asyncio.sleep(0.05)


def state(folder: Path, say: Say, rows: int = 5_000, layers: Sequence[int] = (1, 3)) -> Figures:
    """Bytes of a lane's state as it is stored, once its ring is full and an hour is open."""
    found: Figures = {}
    for count in layers:
        say(f"{count} layers")
        traffic = BenchTraffic()
        names = [f"layer{number}" for number in range(count)]
        drawn = {name: traffic.draw(rows, 10 + i) for i, name in enumerate(names)}
        predicted = drawn[names[0]][1]
        baseline = Baseline.fit(
            {name: values for name, (values, _) in drawn.items()},
            predicted,
            model="bench",
            version="1",
            drop_constant=True,
            simulated_requests=50_000,
        )
        lane = Lane(
            LaneKey("bench", "1", 0), baseline, Settings(average_run_length=10_000).policy()
        )
        for number, batch in enumerate(traffic.batches(rows // traffic.rows)):
            own = slice(number * traffic.rows, (number + 1) * traffic.rows)
            layers_of = {name: values[own] for name, (values, _) in drawn.items()}
            lane.take(replace(batch, activations=layers_of, predicted=predicted[own]), number)
        found[f"state_bytes_{count}_layers"] = float(len(lane.to_bytes()))
    return found
