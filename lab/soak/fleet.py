"""Workers as processes of their own, and who starts them again when they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from latentwatch.stream.service.engine import SESSION_SECONDS
from latentwatch.stream.settings import Settings

__all__ = ["Fleet", "Sample", "Worker", "wait_until"]

STOP_SECONDS = 60.0
NOTICE_SECONDS = 20.0
"""A worker that slept for longer than its session ends and is started again within so long."""

RESTART_AFTER_SECONDS = 1.0
"""A process that ended by itself is started again after so long, as systemd or Kubernetes do."""

YOUNG_SECONDS = 15.0
"""A process younger than that may still be loading its code; it holds nothing, and just ends."""

TAKEN_OVER = "partition taken over"
"""What a worker logs."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Sample:
    """What one worker used at one moment: seconds since the start, bytes, and open files."""

    at: float
    worker: int
    pid: int
    memory: int
    handles: int


@dataclass(slots=True)
class Worker:
    """One worker of the fleet; its process changes when it is killed and started again."""

    number: int
    log: Path
    process: psutil.Popen
    ended_by_itself: list[int] = field(default_factory=list)
    is_wanted: bool = True

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self.process.poll() is None

    @property
    def had_partitions(self) -> bool:
        """Whether it ever took a partition over, this process or one before it."""
        return TAKEN_OVER in self.log.read_text(errors="replace")


async def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds, for so long at most."""
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
        For a log a worker.
    module : str
        What runs as ``python -m``, with the argument ``worker``.
    environment : dict, optional
        Variables beside those of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        module: str = "latentwatch",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._module = module
        self._environment = {**os.environ, **ONE_THREAD, **settings.environment()}
        self._environment |= environment or {}
        self._folder = folder
        self._started = time.monotonic()
        self.workers: list[Worker] = []
        self.samples: list[Sample] = []

    @property
    def running(self) -> list[Worker]:
        """Workers that are there, oldest first."""
        return [worker for worker in self.workers if worker.is_wanted and worker.is_running]

    @property
    def ended_by_themselves(self) -> int:
        """How often a worker ended though nobody wanted it to."""
        return sum(len(worker.ended_by_itself) for worker in self.workers)

    def join(self) -> Worker:
        """Start one worker more."""
        number = len(self.workers)
        log = self._folder / f"worker-{number}.log"
        self.workers.append(Worker(number, log, self._launch(log)))
        return self.workers[-1]

    def kill(self, worker: Worker) -> None:
        """SIGKILL, and start it again at once."""
        worker.process.kill()
        worker.process.wait(STOP_SECONDS)
        worker.process = self._launch(worker.log)

    async def leave(self, worker: Worker) -> int:
        """SIGTERM; return the exit code. The worker does not come back."""
        worker.is_wanted = False
        return await self._terminate(worker)

    async def restart(self, worker: Worker) -> int:
        """SIGTERM, and start it again; return the exit code."""
        code = await self.leave(worker)
        worker.process = self._launch(worker.log)
        worker.is_wanted = True
        return code

    async def pause(self, worker: Worker, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long; then wait until a worker that lost all began anew."""
        process = worker.process
        process.suspend()
        try:
            await asyncio.sleep(seconds)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        if seconds > SESSION_SECONDS:
            # It notices and ends, which takes long while a broker is away: who asks it to end in
            # the meantime would take its exit code for an answer.
            await wait_until(lambda: worker.process is not process, NOTICE_SECONDS)

    def look(self) -> None:
        """Take a sample of each worker."""
        for worker in self.running:
            with contextlib.suppress(psutil.Error):
                memory, handles = worker.process.memory_info().rss, worker.process.num_fds()
                at = time.monotonic() - self._started
                self.samples.append(Sample(at, worker.number, worker.process.pid, memory, handles))

    async def supervise(self) -> None:
        """Start workers again that ended by themselves, for ever."""
        while True:
            for worker in self.workers:
                if worker.is_wanted and not worker.is_running:
                    worker.ended_by_itself.append(worker.process.returncode)
                    await asyncio.sleep(RESTART_AFTER_SECONDS)
                    if worker.is_wanted and not worker.is_running:
                        worker.process = self._launch(worker.log)
            await asyncio.sleep(0.2)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for worker in self.workers:
            worker.is_wanted = False
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.process.kill()
            worker.process.wait(STOP_SECONDS)

    async def _terminate(self, worker: Worker) -> int:
        process = worker.process
        is_young = time.time() - process.create_time() < YOUNG_SECONDS
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        try:
            code = int(await asyncio.to_thread(process.wait, STOP_SECONDS))
            return 0 if is_young and code == -signal.SIGTERM else code
        except psutil.TimeoutExpired:
            process.kill()
            return int(process.wait(STOP_SECONDS))

    def _launch(self, log: Path) -> psutil.Popen:
        with log.open("ab") as output:
            return psutil.Popen(
                [sys.executable, "-m", self._module, "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
