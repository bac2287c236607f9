"""The world of a run: brokers, topics, workers, a sender, and samples of their resources."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentwatch.lab.soak.cluster import Brokers
from latentwatch.lab.soak.fleet import Fleet, Worker
from latentwatch.lab.soak.lag import LagWatch
from latentwatch.lab.soak.sender import Sender
from latentwatch.lab.soak.synthetic_stream import SyntheticStream
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.settings import Settings

__all__ = ["Frame", "World", "open_world", "sending"]

SAMPLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Frame:
    """The set-up of a run.

    Parameters
    ----------
    stream : SyntheticStream
    baselines : str
        Folder of the baselines.
    workers : int
        Workers at the start.
    rate : float
        Steps of the stream per second.
    module : str
        Module that is run as a worker.
    environment : dict
        Variables of the workers in addition to their settings.
    spared : int
        Number of the first workers that are not harmed, so that their memory can be measured.
    settings : dict
        Settings that differ from the stream's.
    """

    stream: SyntheticStream
    baselines: str
    workers: int = 2
    rate: float = 2.0
    module: str = "latentwatch"
    environment: dict[str, str] = field(default_factory=dict)
    spared: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class World:
    """A running service that faults are applied to.

    Parameters
    ----------
    settings : Settings
        With the servers of the harness.
    lags : list of (float, int)
        Seconds since the start, and messages that were not committed.
    """

    settings: Settings
    brokers: Brokers
    fleet: Fleet
    sender: Sender
    lag: LagWatch
    rng: random.Random
    spared: int = 0
    lags: list[tuple[float, int]] = field(default_factory=list)
    bad_ends: list[int] = field(default_factory=list)
    unfelt: list[str] = field(default_factory=list)
    """Faults that had no effect."""

    def some_worker(self) -> Worker:
        """Choose a worker that may be harmed."""
        return self.rng.choice([w for w in self.fleet.running if w.number >= self.spared])

    def ended(self, code: int) -> None:
        """Record the exit code of a worker that was asked to end."""
        if code:
            self.bad_ends.append(code)


@asynccontextmanager
async def open_world(
    frame: Frame, brokers: Brokers, folder: Path, rng: random.Random, prefix: str = "soak."
) -> AsyncIterator[World]:
    """Create topics and start workers and a sender; stop everything at the end."""
    common = {
        "topic_prefix": prefix,
        "application_id": prefix.rstrip("."),
        "baselines": frame.baselines,
        "replication_factor": brokers.copies,
        **frame.settings,
    }
    direct = frame.stream.settings(bootstrap_servers=brokers.direct, **common)
    workers = frame.stream.settings(bootstrap_servers=brokers.workers, **common)
    await create_topics(direct)
    fleet = Fleet(workers, folder, frame.module, frame.environment)
    sender = Sender(direct, frame.stream.steps(), frame.rate)
    world = World(direct, brokers, fleet, sender, LagWatch(direct), rng, frame.spared)
    async with AsyncExitStack() as stack:
        stack.callback(fleet.end)
        for _ in range(frame.workers):
            fleet.join()
        for work in (world.lag.run, fleet.supervise, lambda: _sample(world)):
            await stack.enter_async_context(_meanwhile(work))
        yield world


@asynccontextmanager
async def sending(world: World) -> AsyncIterator[None]:
    """Send the stream while the body runs; then wait until everything is acknowledged."""
    task = asyncio.create_task(world.sender.run())
    try:
        yield
    finally:
        world.sender.stop()
        await task


async def _sample(world: World) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        await asyncio.to_thread(world.fleet.look)
        world.lags.append((loop.time() - started, world.lag.behind(world.sender.ends)))
        await asyncio.sleep(SAMPLE_SECONDS)


@asynccontextmanager
async def _meanwhile(work: Callable[[], Any]) -> AsyncIterator[None]:
    """Run a coroutine while the body runs."""
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
