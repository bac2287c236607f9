"""Faults: what is done to a run, and undone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from latentwatch.lab.soak.fleet import wait_until
from latentwatch.lab.soak.gateway import Cut
from latentwatch.lab.soak.world import World

__all__ = [
    "ClockJump", "Fault", "Join", "Kill", "KillBroker", "Leave", "Pause", "Raise", "Terminate",
    "Unreachable",
]  # fmt: skip

FEWEST_WORKERS, MOST_WORKERS = 2, 4
JOIN_SECONDS = 20.0
"""How long to wait for partitions; with more workers than partitions, some get none."""


RAISE_SECONDS = 60.0
"""How long to wait until a worker enters a stage and has ended of what it raised."""


class Fault(Protocol):
    """One way to break the system."""

    @property
    def name(self) -> str:
        """Name in reports."""

    async def strike(self, world: World) -> None:
        """Break it and mend it; on return everything is mended."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL of a worker, which is restarted at once."""

    name: str = "worker killed (SIGKILL)"

    async def strike(self, world: World) -> None:
        """Kill one of the workers."""
        world.fleet.kill(world.some_worker())


@dataclass(frozen=True, slots=True)
class Terminate:
    """SIGTERM of a worker, which must end cleanly, and is restarted."""

    name: str = "worker ended (SIGTERM)"

    async def strike(self, world: World) -> None:
        """End one of the workers, and record its exit code."""
        world.ended(await world.fleet.restart(world.some_worker()))


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP of a worker, and SIGCONT later; beyond a session it loses its partitions."""

    seconds: float

    @property
    def name(self) -> str:
        """Name with its length."""
        return f"worker stopped (SIGSTOP) for {self.seconds:g} s"

    async def strike(self, world: World) -> None:
        """Suspend one of the workers."""
        await world.fleet.pause(world.some_worker(), self.seconds)


@dataclass(frozen=True, slots=True)
class Join:
    """Another worker."""

    name: str = "worker joins"

    async def strike(self, world: World) -> None:
        """Start a worker, and wait until it has partitions."""
        worker = world.fleet.join()
        await wait_until(lambda: worker.had_partitions, JOIN_SECONDS)


@dataclass(frozen=True, slots=True)
class Leave:
    """One worker fewer."""

    name: str = "worker leaves (SIGTERM)"

    async def strike(self, world: World) -> None:
        """End one of the workers for good."""
        world.ended(await world.fleet.leave(world.some_worker()))


@dataclass(frozen=True, slots=True)
class KillBroker:
    """SIGKILL of a broker, which is restarted some seconds later with its data."""

    seconds: float

    @property
    def name(self) -> str:
        """Name with its length."""
        return f"broker killed (SIGKILL), away for {self.seconds:g} s"

    async def strike(self, world: World) -> None:
        """Kill one of the brokers; in a cluster the others keep running."""
        node = world.rng.choice(world.brokers.nodes)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(self.seconds)
        await asyncio.to_thread(node.restart)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The network between workers and broker is cut for some seconds."""

    seconds: float
    how: Cut

    @property
    def name(self) -> str:
        """Name with its length and kind."""
        return f"broker unreachable ({self.how}) for {self.seconds:g} s"

    async def strike(self, world: World) -> None:
        """Cut the gateway, and mend it."""
        gateway = world.brokers.gateway
        assert gateway is not None, "this suite needs a gateway"
        gateway.cut(self.how)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            gateway.mend()


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The workers' wall clock is wrong by `offset` seconds from now on."""

    offset: float
    file: Path

    @property
    def name(self) -> str:
        """Name with the offset."""
        return f"clock {self.offset:+,.0f} s"

    async def strike(self, world: World) -> None:
        """Set the clock that `latentwatch.lab.soak.clock_skew` reads."""
        self.file.write_text(str(self.offset))


@dataclass(frozen=True, slots=True)
class Raise:
    """A worker raises in one stage of its work, ends, and is restarted."""

    stage: str
    file: Path

    @property
    def name(self) -> str:
        """Name with the stage."""
        return f"worker raises in {self.stage}"

    async def strike(self, world: World) -> None:
        """Let the worker that next enters the stage raise there, and wait until one has ended."""
        before = world.fleet.ended_by_themselves
        self.file.write_text(self.stage)
        await wait_until(lambda: world.fleet.ended_by_themselves > before, RAISE_SECONDS)
        self.file.unlink(missing_ok=True)
        if world.fleet.ended_by_themselves == before:
            world.unfelt.append(self.name)
