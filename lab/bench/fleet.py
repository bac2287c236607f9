"""Workers as processes of their own, kept to one core, and how far they have got."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.settings import Settings

__all__ = ["caught_up", "workers"]

PATIENCE_SECONDS = 300.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.02


@contextmanager
def workers(
    settings: Settings, folder: Path, count: int = 1
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many workers, each with its log in a folder; a worker computes in one thread."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = []
    for number in range(count):
        with (folder / f"worker-{number}.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "latentwatch", "worker"],
                    env={**os.environ, **one_thread, **settings.environment()},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(STOP_SECONDS)


async def caught_up(settings: Settings, ends: Mapping[int, int]) -> tuple[float, float]:
    """Wait until everything before `ends` is committed.

    Returns
    -------
    first : float
        Seconds until the first commit was seen.
    whole : float
        Seconds for all messages, scaled up from those after the first commit: a consumer group
        takes seconds to come together, and that is no work.
    """
    started = time.perf_counter()
    count = sum(ends.values())
    first: tuple[float, int] | None = None
    async with WorkerLag(settings) as lag:
        while time.perf_counter() - started < PATIENCE_SECONDS:
            left = await lag.messages(ends)
            now = time.perf_counter()
            if left < count and first is None:
                first = (now, left)
            if not left and first is not None:
                return first[0] - started, (now - first[0]) * count / max(first[1], 1)
            await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError("the worker did not get through: see its log")
