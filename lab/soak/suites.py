"""The suites: which faults, how many, and in which world."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

from latentwatch.lab.soak import clock_skew, raising
from latentwatch.lab.soak.cluster import one_behind_a_gateway, three_nodes
from latentwatch.lab.soak.faults import (
    FEWEST_WORKERS,
    MOST_WORKERS,
    ClockJump,
    Fault,
    Join,
    Kill,
    KillBroker,
    Leave,
    Pause,
    Raise,
    Terminate,
    Unreachable,
)
from latentwatch.lab.soak.publisher import publisher
from latentwatch.lab.soak.recorder import recorder
from latentwatch.lab.soak.run import OpenBrokers, Outcome, Say, run_suite
from latentwatch.lab.soak.synthetic_stream import SyntheticStream, fit_baselines
from latentwatch.lab.soak.world import Frame
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.service.engine import SESSION_SECONDS

__all__ = ["Knobs", "run_named"]

QUIET_SECONDS = 3.0
"""Longest pause before a fault. It is random, so that faults hit every phase of the work."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """Sizes of the suites.

    Parameters
    ----------
    kills, exceptions, rebalances : int
    minutes : float
        Length of the mixed suite.
    outage_seconds : float
        How long a broker is unreachable.
    rate : float
        Steps of the stream per second; a step is nine messages of 40 requests.
    seed : int
    """

    kills: int = 50
    exceptions: int = 60
    rebalances: int = 20
    minutes: float = 60.0
    outage_seconds: float = 60.0
    rate: float = 2.0
    seed: int = 0


Faults = Iterator[tuple[float, Fault]]


def kills(knobs: Knobs, rng: random.Random) -> Faults:
    """SIGKILL of one of two workers."""
    for _ in range(knobs.kills):
        yield rng.uniform(0, QUIET_SECONDS), Kill()


def signals(knobs: Knobs, rng: random.Random) -> Faults:
    """SIGTERM, and SIGSTOP for less and for more than a session."""
    for _ in range(5):
        yield rng.uniform(0, QUIET_SECONDS), Terminate()
        yield rng.uniform(0, QUIET_SECONDS), Pause(rng.uniform(1, 5))
        yield rng.uniform(0, QUIET_SECONDS), Pause(SESSION_SECONDS + rng.uniform(5, 10))


def rebalances(knobs: Knobs, rng: random.Random) -> Faults:
    """Workers that join and leave, between two and four."""
    workers = FEWEST_WORKERS
    for _ in range(knobs.rebalances):
        up = workers == FEWEST_WORKERS or (workers < MOST_WORKERS and rng.random() < 0.5)
        workers += 1 if up else -1
        yield rng.uniform(0, QUIET_SECONDS), Join() if up else Leave()


def broker(knobs: Knobs, rng: random.Random) -> Faults:
    """A broker that is killed, or cannot be reached in either way."""
    for seconds in (0.0, 5.0, 20.0):
        yield rng.uniform(0, QUIET_SECONDS), KillBroker(seconds)
    yield rng.uniform(0, QUIET_SECONDS), Unreachable(knobs.outage_seconds, "refused")
    yield rng.uniform(0, QUIET_SECONDS), Unreachable(knobs.outage_seconds, "silent")


def cluster(knobs: Knobs, rng: random.Random) -> Faults:
    """One of three brokers is killed, for longer than an election takes."""
    for _ in range(3):
        yield rng.uniform(1, QUIET_SECONDS), KillBroker(15.0)


def mixed(knobs: Knobs, rng: random.Random) -> Faults:
    """Every fault that a single broker allows, in random order, without end."""
    extra = 0
    while True:
        choices: list[Fault] = [Kill(), Terminate(), Pause(rng.uniform(1, 20))]
        choices += [Join()] if extra < 2 else [Leave()]
        choices += [KillBroker(rng.uniform(0, 5)), Unreachable(15.0, "refused")]
        fault = rng.choice(choices)
        extra += isinstance(fault, Join) - isinstance(fault, Leave)
        yield rng.uniform(5, 20), fault


def clock(file: Path) -> Callable[[Knobs, random.Random], Faults]:
    """A wall clock that is set forward by hours, back to the right time, and back by minutes."""

    def faults(knobs: Knobs, rng: random.Random) -> Faults:
        for offset in (7_200.0, 0.0, -300.0, 0.0, 86_400.0, 0.0):
            yield rng.uniform(4, 8), ClockJump(offset, file)

    return faults


def exceptions(file: Path) -> Callable[[Knobs, random.Random], Faults]:
    """Workers that raise, in every stage of the work in turn."""

    def faults(knobs: Knobs, rng: random.Random) -> Faults:
        for _, stage in zip(range(knobs.exceptions), cycle(raising.STAGES), strict=False):
            yield rng.uniform(0, QUIET_SECONDS), Raise(stage, file)

    return faults


async def run_named(name: str, knobs: Knobs, folder: Path, say: Say) -> Outcome:
    """Run a suite by its name, with its data and logs in a folder."""
    if name == "publisher":
        return await publisher(folder, say, knobs.outage_seconds)
    say("fitting baselines")
    stream = SyntheticStream(knobs.seed)
    frame = Frame(stream, fit_baselines(stream, folder / "baselines"), rate=knobs.rate)
    if name == "recorder":
        return await recorder(folder, say, replace(frame, workers=0))
    brokers: OpenBrokers = three_nodes if name == "cluster" else one_behind_a_gateway
    faults: Callable[[Knobs, random.Random], Faults]
    known = {f.__name__: f for f in (kills, signals, rebalances, broker, cluster, mixed)}
    most_seconds = float("inf")
    if name == "clock":
        frame = _with_a_clock(frame, folder / "clock")
        faults = clock(folder / "clock")
    elif name == "exceptions":
        frame = replace(
            frame,
            module="latentwatch.lab.soak.raising",
            environment={raising.VARIABLE: str(folder / "raise")},
        )
        faults = exceptions(folder / "raise")
    else:
        faults = known[name]
    if name == "mixed":
        frame, most_seconds = replace(frame, workers=3, spared=1), 60.0 * knobs.minutes
    return await run_suite(
        name,
        frame,
        brokers(folder),
        faults(knobs, random.Random(knobs.seed)),
        folder,
        say,
        seed=knobs.seed,
        most_seconds=most_seconds,
    )


def _with_a_clock(frame: Frame, file: Path) -> Frame:
    """Move event times close to now, where the wall clock decides which rows are in the future."""
    hour = time.time_ns() // HOUR_NS * HOUR_NS
    return replace(
        frame,
        stream=replace(frame.stream, start_ns=hour - 20 * HOUR_NS),
        module="latentwatch.lab.soak.clock_skew",
        environment={clock_skew.VARIABLE: str(file)},
    )
