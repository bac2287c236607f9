"""Workers to be measured, each in its own process and in one thread, and their progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from latentwatch.stream.kafka.lag import WorkerLag
from latentwatch.stream.processes.child import Child
from latentwatch.stream.settings import Settings

__all__ = ["caught_up", "workers"]

PATIENCE_SECONDS = 300.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.02

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@contextmanager
def workers(settings: Settings, folder: Path, count: int = 1) -> Iterator[list[Child]]:
    """Run `count` workers, each with a log in the folder; they compute in one thread each."""
    environment = {**ONE_THREAD, **settings.environment()}
    with ExitStack() as stack:
        started = []
        for number in range(count):
            log = folder / f"worker-{number}.log"
            started.append(Child.of_latentwatch(["worker"], log, environment, append=True))
            stack.callback(started[-1].stop, STOP_SECONDS)
        yield started
        for child in started:
            child.terminate()


async def caught_up(settings: Settings, ends: Mapping[int, int]) -> tuple[float, float]:
    """Wait until everything before `ends` is committed.

    Returns
    -------
    first : float
        Seconds until the first commit.
    whole : float
        Seconds for all messages, scaled up from those after the first commit: a consumer group
        takes seconds to form, and no messages are processed meanwhile.
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
    raise TimeoutError(
        f"the workers did not catch up within {PATIENCE_SECONDS:.0f} s: their logs say why"
    )
