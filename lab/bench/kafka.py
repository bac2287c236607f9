"""How fast traffic is recorded, replayed and processed by a worker, through a real Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from latentwatch.lab.bench.fleet import caught_up, workers
from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.lab.brokers import KafkaBroker
from latentwatch.producers.wire import encode
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.recording import RecordedMessage, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.recorder import Recorder
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.replay.kafka import Pace, Replay
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings

__all__ = ["replaying"]

Figures = dict[str, float]
Say = Callable[[str], None]

MESSAGES = 3_000


def replaying(folder: Path, say: Say, count: int = MESSAGES) -> Figures:
    """Requests per second: sent by ``replay --speed max``, recorded, processed by one worker."""
    traffic = BenchTraffic()
    rows = count * traffic.rows
    say("fitting a baseline")
    baselines = str(folder / "baselines")
    traffic.baseline().save(baseline_url(baselines, "bench", "1"))
    messages = [RecordedMessage(0, n, batch) for n, batch in enumerate(traffic.batches(count))]
    writer = RecordingWriter(
        RecordingFiles(str(folder / "first")), most_bytes=64 << 20, most_seconds=1e9
    )
    for message in messages:
        writer.add(message, 0.0)
    writer.flush_all()
    say("starting a broker")
    with KafkaBroker() as broker:
        settings = Settings(
            bootstrap_servers=broker.bootstrap_servers,
            baselines=baselines,
            partitions=1,
            output_partitions=1,
        )
        asyncio.run(create_topics(settings))
        say(f"replaying {rows:,} requests as fast as possible")
        started = time.perf_counter()
        replay = Replay(settings, Pace(None))
        asyncio.run(replay.run(Recording(str(folder / "first")).messages()))
        found = {"replayed_per_second": rows / (time.perf_counter() - started)}
        say("recording them")
        found["recorded_per_second"] = rows / _record(settings, str(folder / "second"))
        say("a worker processes them")
        with workers(settings, folder):
            _, seconds = asyncio.run(caught_up(settings, {0: count}))
        found["taken_by_worker_per_second"] = rows / seconds
    found["bytes_per_message"] = float(len(encode(messages[0].batch).value))
    return found


def _record(settings: Settings, url: str) -> float:
    """Seconds until all is recorded."""
    files = RecordingFiles(url)
    writer = RecordingWriter(files, most_bytes=64 << 20, most_seconds=1e9)
    recorder = Recorder(settings, writer, files.recover())
    started = time.perf_counter()
    asyncio.run(recorder.run(asyncio.Event(), until_end=True))
    return time.perf_counter() - started
