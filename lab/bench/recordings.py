"""How fast traffic is recorded, read, and decided on without a broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from latentwatch.lab.bench.traffic import BenchTraffic
from latentwatch.producers.wire import Message, decode, encode
from latentwatch.stream.recording import RecordedMessage, Recording
from latentwatch.stream.recording.files import RecordingFiles
from latentwatch.stream.recording.writer import RecordingWriter
from latentwatch.stream.replay.offline import OfflineReplay
from latentwatch.stream.replay.partitions import replay_recording
from latentwatch.stream.settings import Settings

__all__ = ["offline", "recording"]

Figures = dict[str, float]
Say = Callable[[str], None]

MESSAGES = 4_096
PARTITIONS = 6
ROTATE_BYTES = 64 << 20


def recording(folder: Path, say: Say, count: int = MESSAGES) -> Figures:
    """Requests per second and core: decoded, put into tables, compressed and written; and read."""
    traffic = BenchTraffic()
    say("encoding messages")
    messages = [encode(batch) for batch in traffic.batches(count)]
    rows = count * traffic.rows
    found: Figures = {}
    for name in ("cold", "warm"):
        url = str(folder / name)
        say(f"recording {rows:,} requests ({name})")
        found[f"recorded_per_core_second_{name}"] = rows / _record(url, messages)
    found["bytes_per_request"] = _size(folder / "warm") / rows
    say("reading them")
    started = time.process_time()
    read = sum(len(message.batch) for message in Recording(str(folder / "warm")).messages())
    found["read_per_core_second"] = read / (time.process_time() - started)
    return found


def _record(url: str, messages: Sequence[Message], partitions: int = 1) -> float:
    """Record messages to the partitions in turn; return processor seconds."""
    writer = RecordingWriter(RecordingFiles(url), most_bytes=ROTATE_BYTES, most_seconds=1e9)
    started = time.process_time()
    for offset, (key, value, headers) in enumerate(messages):
        batch = decode(value, headers, key=key)
        writer.add(RecordedMessage(offset % partitions, offset, batch), 0.0)
    writer.flush_all()
    return time.process_time() - started


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def offline(
    folder: Path, say: Say, count: int = MESSAGES, random_features: Sequence[int] = (1024, 512)
) -> Figures:
    """Requests per second that are read from a recording and decided on; one layer of 512."""
    traffic = BenchTraffic()
    url, rows = str(folder / "recording"), count * traffic.rows
    say(f"recording {rows:,} requests")
    _record(url, [encode(batch) for batch in traffic.batches(count)], PARTITIONS)
    found: Figures = {}
    for features in random_features:
        say(f"fitting a baseline with {features} features")
        baseline = traffic.baseline(random_features=features)
        say(f"deciding on them ({features} features, one thread)")
        replay = OfflineReplay(Settings(), lambda *_, found=baseline: found)
        found[f"decided_per_second_one_thread_{features}_features"] = rows / _seconds(
            replay.run(Recording(url).messages())
        )
        say(f"deciding on them ({features} features, all cores)")
        records, _ = replay_recording(
            Recording(url),
            Settings(),
            lambda *_, found=baseline: found,
            lambda *_: None,
            least_rows=0,
        )
        found[f"decided_per_second_all_cores_{features}_features"] = rows / _seconds(records)
    return found


def _seconds(records: Iterable[object]) -> float:
    """Time to iterate over the records."""
    started = time.perf_counter()
    for _ in records:
        pass
    return time.perf_counter() - started
