"""How fast traffic is recorded, read, and decided on without a broker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from producers.wire import Message, decode, encode
from stream.recording import RecordedMessage, Recording
from stream.recording.files import RecordingFiles
from stream.recording.writer import RecordingWriter
from stream.replay.offline import OfflineReplay
from stream.settings import Settings

from .traffic import BenchTraffic

__all__ = ["offline", "recording"]

Figures = dict[str, float]
Say = Callable[[str], None]

MESSAGES = 4_096
ROTATE_BYTES = 64 << 20


def recording(folder: Path, say: Say, count: int = MESSAGES) -> Figures:
    """Requests a second and core: decoded, put into tables, compressed and written; and read."""
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


def _record(url: str, messages: Sequence[Message]) -> float:
    """Processor seconds that it takes."""
    writer = RecordingWriter(RecordingFiles(url), most_bytes=ROTATE_BYTES, most_seconds=1e9)
    started = time.process_time()
    for offset, (key, value, headers) in enumerate(messages):
        writer.add(RecordedMessage(0, offset, decode(value, headers, key=key)), 0.0)
    writer.flush_all()
    return time.process_time() - started


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def offline(folder: Path, say: Say, count: int = MESSAGES) -> Figures:
    """Requests a second that are read from a recording and decided on; one layer of 512."""
    traffic = BenchTraffic()
    say("fitting a baseline")
    baseline = traffic.baseline()
    url = str(folder / "recording")
    rows = count * traffic.rows
    say(f"recording {rows:,} requests")
    _record(url, [encode(batch) for batch in traffic.batches(count)])
    found: Figures = {}
    threads = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads) as pool:
        for name, spread in (("one_thread", None), ("all_cores", pool)):
            say(f"deciding on them ({name})")
            replay = OfflineReplay(Settings(), lambda *_: baseline, spread)
            started = time.perf_counter()
            for _ in replay.run(Recording(url).messages()):
                pass
            found[f"decided_per_second_{name}"] = rows / (time.perf_counter() - started)
    return found
