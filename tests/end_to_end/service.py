"""The service under test: workers as child processes, and what they publish."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from latentwatch.stream.core.lane import Lane
from latentwatch.stream.kafka.bounded_batches import Bounds
from latentwatch.stream.kafka.reader import read_topic
from latentwatch.stream.service.lane_state import read_lane_states
from latentwatch.stream.settings import Settings
from tests.end_to_end.traffic import LAYERS, START_HOUR

PATIENCE_SECONDS = 90.0


@dataclass
class Outputs:
    """All that was published, in the order of each partition."""

    alerts: list[dict[str, Any]] = field(default_factory=list)
    detection_rates: list[dict[str, Any]] = field(default_factory=list)
    flagged_requests: list[dict[str, Any]] = field(default_factory=list)
    dead_letter: list[Any] = field(default_factory=list)

    def add(self, role: str, record: Any) -> None:
        """Take a record in; dead letters as they are, the others parsed."""
        getattr(self, role).append(record if role == "dead_letter" else orjson.loads(record.value))

    @property
    def rates(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Newest rates by model, layer and hour, as compaction would leave them."""
        rows = (event["data"] for event in self.detection_rates)
        return {(row["model"], row["layer"], row["hour"]): row for row in rows}

    @property
    def requests(self) -> dict[tuple[str, int], int]:
        """Requests by model and hour since the start of the recording, in every layer's row.

        The rows of an hour lie in several partitions: a reader may see some before the others.
        """
        rates = self.rates
        found = {}
        for (model, _, hour), row in rates.items():
            number = int(datetime.fromisoformat(hour).timestamp()) // 3600 - START_HOUR
            layers = [*LAYERS, "agreement"] if row["status"] == "ok" else [""]
            told = [rates.get((model, layer, hour), {"requests": 0}) for layer in layers]
            found[model, number] = min(row["requests"] for row in told)
        return found


class WorkerProcess:
    """A worker as in production: a process of its own, settings from its environment."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "latentwatch", "worker"],
                env={**os.environ, **settings.environment()},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text(errors="replace")

    @property
    def takeovers(self) -> int:
        """Partitions that it took over so far, each time anew."""
        return self.log.count("partition taken over")

    def check(self) -> None:
        """Fail if it ended by itself."""
        if self.process.poll() is not None:
            pytest.fail(f"worker ended with {self.process.returncode}:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """Ask it to end, and see that it ends well."""
        self.check()
        self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            pytest.fail(f"worker did not end within 30 s of SIGTERM:\n{self.log[-4000:]}")
        assert code == 0, self.log[-4000:]


class Service:
    """The service under test: its topics, its workers, and what comes out."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.topics = settings, settings.topics()
        self._folder = folder
        self.workers: list[WorkerProcess] = []
        self.outputs = Outputs()

    def start_worker(self) -> WorkerProcess:
        """Start one worker more."""
        log = self._folder / f"worker-{len(self.workers)}.log"
        self.workers.append(WorkerProcess(self.settings, log))
        return self.workers[-1]

    def send(self, messages: Sequence[tuple[Any, ...]]) -> None:
        """Send messages, as `Sent` has them; each partition keeps their order."""

        async def produce() -> None:
            producer = AIOKafkaProducer(**self.settings.kafka_options(), enable_idempotence=True)
            async with producer:
                sent = [
                    await producer.send(
                        self.topics.activations, value, key, partition, headers=headers
                    )
                    for partition, key, value, headers in messages
                ]
                await asyncio.gather(*sent)

        asyncio.run(produce())

    def taken(self, partition: int) -> int:
        """Newest offset of a partition that a lane's state has taken in; -1 without any."""
        states = asyncio.run(read_lane_states(self.settings, partition))
        return max((Lane.offset_of(state) for state in states), default=-1)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition while the workers must not end by themselves."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            for worker in self.workers:
                if worker.process.returncode is None:
                    worker.check()
            if time.monotonic() > deadline:
                logs = "\n".join(worker.log[-2000:] for worker in self.workers)
                pytest.fail(
                    f"{what}: not within {PATIENCE_SECONDS:.0f} s\n{self.outputs.requests}\n{logs}"
                )
            time.sleep(0.1)

    def wait_for_requests(self, expected: dict[tuple[str, int], int]) -> None:
        """Wait until the rates count as many requests as were sent."""

        def counted() -> bool:
            self.outputs = self.read()
            return self.outputs.requests == expected

        self.wait_until(f"rates of {expected}", counted)

    def read(self) -> Outputs:
        """All that is in the output topics at present."""
        return asyncio.run(self._read())

    async def _read(self) -> Outputs:
        roles = {getattr(self.topics, role): role for role in Outputs.__dataclass_fields__}
        outputs = Outputs()
        bounds = Bounds.of_dead_letters(self.settings)
        async for record in read_topic(self.settings, *roles, bounds=bounds):
            outputs.add(roles[record.topic], record)
        return outputs

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for worker in self.workers:
            worker.kill()
