"""The workers of a soak: processes that are started again when they end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from latentwatch.lab.bench.fleet import ONE_THREAD
from latentwatch.stream.processes.child import Child
from latentwatch.stream.service.engine import SESSION_SECONDS
from latentwatch.stream.settings import Settings

__all__ = ["Fleet", "Sample", "Worker", "wait_until"]

STOP_SECONDS = 60.0
NOTICE_SECONDS = 20.0
"""Time in which a worker that slept past its session ends and is started again."""

RESTART_AFTER_SECONDS = 1.0
"""Delay before a process that ended by itself is restarted, as under systemd or Kubernetes."""

YOUNG_SECONDS = 15.0
"""A younger process may still be importing its code: it holds nothing, and SIGTERM just ends it."""

ENDED_BY_SIGTERM = (-signal.SIGTERM, 128 + signal.SIGTERM)

TAKEN_OVER = "partition taken over"
"""Log message of a worker."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Resources of one worker at one moment: seconds since the start, bytes, and open files."""

    at: float
    worker: int
    pid: int
    memory: int
    handles: int


@dataclass(slots=True)
class Worker:
    """One worker of the fleet; its process changes when it is killed and restarted."""

    number: int
    log: Path
    process: Child
    ended_by_itself: list[int] = field(default_factory=list)
    is_wanted: bool = True

    @property
    def is_running(self) -> bool:
        """Whether its process is alive."""
        return self.process.is_running

    @property
    def had_partitions(self) -> bool:
        """Whether it ever took over a partition, in this process or an earlier one."""
        return TAKEN_OVER in self.log.read_text(errors="replace")


async def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until a condition holds, or for `seconds`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.1)


class Fleet:
    """The workers of a run.

    Parameters
    ----------
    settings : Settings
    folder : Path
        For the logs, one per worker.
    module : str
        Module that is run with the argument ``worker``.
    environment : dict, optional
        Variables in addition to those of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        module: str = "latentwatch",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._module = module
        self._environment = {**ONE_THREAD, **settings.environment(), **(environment or {})}
        self._folder = folder
        self._started = time.monotonic()
        self.workers: list[Worker] = []
        self.samples: list[Sample] = []

    @property
    def running(self) -> list[Worker]:
        """Workers that are alive and wanted, oldest first."""
        return [worker for worker in self.workers if worker.is_wanted and worker.is_running]

    @property
    def ended_by_themselves(self) -> int:
        """How often a worker ended without being asked to."""
        return sum(len(worker.ended_by_itself) for worker in self.workers)

    def join(self) -> Worker:
        """Start another worker."""
        number = len(self.workers)
        log = self._folder / f"worker-{number}.log"
        self.workers.append(Worker(number, log, self._launch(log)))
        return self.workers[-1]

    def kill(self, worker: Worker) -> None:
        """Kill a worker (SIGKILL), and restart it at once."""
        worker.process.kill()
        worker.process = self._launch(worker.log)

    async def leave(self, worker: Worker) -> int:
        """Ask a worker to end for good (SIGTERM); return its exit code."""
        worker.is_wanted = False
        return await self._terminate(worker)

    async def restart(self, worker: Worker) -> int:
        """Ask a worker to end (SIGTERM), and start it again; return its exit code."""
        code = await self.leave(worker)
        worker.process = self._launch(worker.log)
        worker.is_wanted = True
        return code

    async def pause(self, worker: Worker, seconds: float) -> None:
        """Suspend a worker (SIGSTOP); wait for its restart if it lost its session."""
        process = worker.process
        process.pause()
        try:
            await asyncio.sleep(seconds)
        finally:
            process.resume()
        if seconds > SESSION_SECONDS:
            # It notices that and ends, which takes long while a broker is away. A fault that asked
            # it to end in the meantime would mistake this exit code for the answer.
            await wait_until(lambda: worker.process is not process, NOTICE_SECONDS)

    def look(self) -> None:
        """Take a sample of each worker."""
        for worker in self.running:
            with contextlib.suppress(psutil.Error):
                for own in psutil.Process(worker.process.guard_pid).children():
                    memory, handles = own.memory_info().rss, own.num_fds()
                    at = time.monotonic() - self._started
                    self.samples.append(Sample(at, worker.number, own.pid, memory, handles))

    async def supervise(self) -> None:
        """Restart workers that end by themselves, until cancelled."""
        while True:
            for worker in self.workers:
                if worker.is_wanted and not worker.is_running:
                    worker.ended_by_itself.append(worker.process.wait())
                    await asyncio.sleep(RESTART_AFTER_SECONDS)
                    if worker.is_wanted and not worker.is_running:
                        worker.process = self._launch(worker.log)
            await asyncio.sleep(0.2)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for worker in self.workers:
            worker.is_wanted = False
            worker.process.kill()

    async def _terminate(self, worker: Worker) -> int:
        process = worker.process
        is_young = process.age_seconds < YOUNG_SECONDS
        process.terminate()
        try:
            code = await asyncio.to_thread(process.wait, STOP_SECONDS)
            return 0 if is_young and code in ENDED_BY_SIGTERM else code
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _launch(self, log: Path) -> Child:
        return Child.of_latentwatch(
            ["worker"], log, self._environment, append=True, module=self._module
        )
