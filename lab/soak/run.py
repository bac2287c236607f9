"""Runs one suite: a world, its faults one after another, the end of the stream, the verdict."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from latentwatch.lab.soak.cluster import Brokers
from latentwatch.lab.soak.faults import Fault
from latentwatch.lab.soak.topics import Content, read_topics
from latentwatch.lab.soak.trend import Trend, lag_trend, trends
from latentwatch.lab.soak.truth import Truth, truth_of
from latentwatch.lab.soak.verdict import Check, counted, verdict
from latentwatch.lab.soak.world import Frame, World, open_world, sending
from latentwatch.stream.core.errors import StreamError

__all__ = ["Episode", "Outcome", "SoakError", "run_suite"]

FIRST_PROGRESS_SECONDS = 120.0
RECOVERY_SECONDS = 180.0
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 1.0

Say = Callable[[str], None]
OpenBrokers = Callable[[Path], AbstractAsyncContextManager[Brokers]]


class SoakError(StreamError):
    """The harness itself failed, so that there is no verdict."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One fault: its length, and the time until everything sent by its end was committed."""

    fault: str
    broken_seconds: float
    recovery_seconds: float | None

    @property
    def kind(self) -> str:
        """Name of the fault without a random length, by which the report groups them."""
        return re.sub(r" for (\d+\.\d+) s", "", self.fault)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a suite."""

    suite: str
    seconds: float
    messages: int
    episodes: list[Episode]
    checks: list[Check]
    trends: list[Trend] = field(default_factory=list)
    ended_by_themselves: int = 0

    @property
    def holds(self) -> bool:
        """Whether every expectation was met."""
        return all(check.holds for check in self.checks) and all(t.is_flat for t in self.trends)


async def run_suite(
    name: str,
    frame: Frame,
    brokers: AbstractAsyncContextManager[Brokers],
    faults: Iterable[tuple[float, Fault]],
    folder: Path,
    say: Say,
    *,
    seed: int = 0,
    most_seconds: float = float("inf"),
    prefix: str = "soak.",
) -> Outcome:
    """Run one suite.

    Parameters
    ----------
    name : str
    frame : Frame
    brokers : context manager of Brokers
    faults : iterable of (seconds, Fault)
        Each fault comes that many seconds after the recovery from the one before.
    folder : Path
        For data and logs.
    say : callable
        Called with a few words of progress.
    seed : int
        Chooses the workers and brokers to harm.
    most_seconds : float
        No further fault begins after that time.
    prefix : str
        Prefix of the topics.

    Raises
    ------
    SoakError
        The workers do not start.
    """
    started = time.monotonic()
    say("starting brokers and workers")
    async with (
        brokers as running,
        open_world(frame, running, folder, random.Random(seed), prefix) as world,
    ):
        async with sending(world):
            await _first_progress(world, folder)
            episodes = await _strike_all(world, faults, started + most_seconds, say)
        say("the stream has ended: waiting for its last hours")
        content, truth = await _settled(world)
        await _end_workers(world)
        content = await read_topics(world.settings)
        say("comparing with the truth")
        checks = await asyncio.to_thread(verdict, world.settings, world.sender.sent, content, truth)
        return Outcome(
            name,
            time.monotonic() - started,
            len(world.sender.sent),
            episodes,
            [*checks, _ends(world), _felt(world, len(episodes))],
            [*trends(world.fleet.samples, frame.spared), *lag_trend(world.lags, frame.spared)],
            world.fleet.ended_by_themselves,
        )


async def _first_progress(world: World, folder: Path) -> None:
    deadline = time.monotonic() + FIRST_PROGRESS_SECONDS
    # a worker without partitions has nothing to lose: faults would have no effect
    while not any(world.lag.committed.values()) or not all(
        worker.had_partitions for worker in world.fleet.running
    ):
        if time.monotonic() > deadline:
            raise SoakError(
                f"not every worker took over partitions within {FIRST_PROGRESS_SECONDS:.0f} s: "
                f"see the logs in {folder}"
            )
        await asyncio.sleep(0.2)


async def _strike_all(
    world: World, faults: Iterable[tuple[float, Fault]], deadline: float, say: Say
) -> list[Episode]:
    episodes: list[Episode] = []
    for quiet, fault in faults:
        if time.monotonic() + quiet > deadline:
            break
        await asyncio.sleep(quiet)
        say(f"{len(episodes) + 1}: {fault.name}")
        started = time.monotonic()
        await fault.strike(world)
        broken = time.monotonic() - started
        recovery = await world.lag.until(world.sender.ends, RECOVERY_SECONDS)
        episodes.append(Episode(fault.name, broken, recovery))
    return episodes


async def _settled(world: World) -> tuple[Content, Truth]:
    """Wait until the rates count all requests, or for long enough; then read the topics."""
    await world.lag.until(world.sender.ends, SETTLE_SECONDS)
    content = await read_topics(world.settings)
    truth = await asyncio.to_thread(truth_of, world.settings, content["activations"])
    deadline = time.monotonic() + SETTLE_SECONDS
    while counted(content["detection_rates"]).total() != truth.requests.total():
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(LOOK_SECONDS)
        content = await read_topics(world.settings)
    return content, truth


async def _end_workers(world: World) -> None:
    for worker in world.fleet.running:
        world.ended(await world.fleet.leave(worker))


def _ends(world: World) -> Check:
    texts = tuple(f"exit code {code} after SIGTERM" for code in world.bad_ends)
    return Check("workers end in good order when asked to", 1, texts)


def _felt(world: World, faults: int) -> Check:
    return Check("faults that a worker was to raise were raised", faults, tuple(world.unfelt))
