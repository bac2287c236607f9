"""The system under test while an experiment runs: broker, workers, and what was sent to them.

Activities of Chaos Toolkit are plain functions; this module keeps what they share. There is one
system at a time in a process.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from latentwatch.chaos.experiment.material import TRAFFIC, SystemPlan, baselines_of
from latentwatch.chaos.experiment.measure import Truth
from latentwatch.chaos.experiment.outputs import Seen, read_outputs
from latentwatch.chaos.traffic.errors import ExperimentError
from latentwatch.chaos.traffic.named import called
from latentwatch.detector import Baseline
from latentwatch.stream.core.times import HOUR_NS
from latentwatch.stream.kafka.topics import create_topics
from latentwatch.stream.processes.child import Child
from latentwatch.stream.service.baselines import baseline_url
from latentwatch.stream.settings import Settings
from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE

__all__ = [
    "EVIDENCE",
    "FOLDER",
    "MATERIAL",
    "Broker",
    "System",
    "disposable_broker",
    "running",
    "start_system",
    "stop_system",
]

FOLDER, MATERIAL = "latentwatch_folder", "latentwatch_material"
"""Names in the configuration of an experiment."""

EVIDENCE = "evidence.json"
"""Name of the file with hours and alerts, in the folder of an experiment."""

DISPOSABLE_BROKER = "latentwatch.lab.brokers:KafkaBroker"
"""Starts a real single-node Kafka and removes its data afterwards. It is named by its import path,
as classifiers are: `latentwatch.chaos` imports nothing of `latentwatch.lab`."""

FIRST_HOUR_AGO = 40
"""Event time begins that many hours ago, so that every hour of an experiment is over."""

WARM_UP = "warm-up"

IDLE_SECONDS = 3.0
"""How soon after the last request the workers close the last hours."""

_current: System | None = None


class Broker(Protocol):
    """A broker that runs inside a ``with`` block, and can be killed and restarted."""

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients; the same after a restart."""

    def kill(self) -> None:
        """Kill it without a chance to clean up, as a power cut does."""

    def restart(self) -> None:
        """Start it again with its data."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


def disposable_broker(progress: Callable[[str], None] | None = None) -> Broker:
    """Return a broker for experiments alone, not yet started."""
    made: Broker = called(DISPOSABLE_BROKER)(progress=progress)
    return made


class System:
    """The system that an experiment acts on and measures.

    Parameters
    ----------
    plan : SystemPlan
    folder : Path
        For the experiment's logs and truth; created if missing.
    material : Path
        Where baselines are kept between experiments.
    """

    def __init__(self, plan: SystemPlan, folder: Path, material: Path) -> None:
        self.plan, self.folder = plan, folder
        self.workers: list[Child] = []
        self.broker: Broker | None = None
        self.fault_at: float | None = None
        self.played: list[dict[str, Any]] = []
        self.fittings: list[dict[str, Any]] = []
        self._material = material
        self._players: list[Child] = []
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._stretches = 0
        self._next_ns = (time.time_ns() // HOUR_NS - FIRST_HOUR_AGO) * HOUR_NS

    @cached_property
    def settings(self) -> Settings:
        """Settings of the workers; topics and consumer group are the experiment's own."""
        name = f"chaos-{secrets.token_hex(4)}"
        return Settings(
            **{
                "bootstrap_servers": self._servers(),
                "topic_prefix": f"{name}.",
                "application_id": name,
                "baselines": str(baselines_of(self.plan, self._material).resolve()),
                "idle_seconds": IDLE_SECONDS,
                "flush_seconds": 0.2,
                "partitions": 2,
                "output_partitions": 2,
                **self.plan.settings,
            }
        )

    @cached_property
    def baseline_file(self) -> str:
        """URL of the classifier's baseline."""
        return baseline_url(self.settings.baselines, self.plan.model, self.plan.version)

    @cached_property
    def baseline(self) -> Baseline:
        """Baseline of the classifier."""
        return Baseline.load(self.baseline_file)

    def start(self) -> None:
        """Start everything; stop it again if anything goes wrong."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            asyncio.run(create_topics(self.settings))
            for _ in range(self.plan.workers):
                self.add_worker()
        except BaseException:
            self.stop()
            raise

    def warm_up(self) -> None:
        """Send benign requests, as many as the plan says, and check that all workers are alive."""
        if self.plan.warm_up:
            self.play(WARM_UP, 3600.0, {"requests": self.plan.warm_up})
        for worker in self.workers:
            if not worker.is_running:
                raise ExperimentError(f"a worker ended by itself:\n{worker.tail()}")

    def stop(self) -> None:
        """Stop everything that was started here."""
        for child in [*self._players, *self.workers]:
            child.stop()
        self._stack.close()

    def _servers(self) -> str:
        if self.plan.broker == "shared" and (servers := os.environ.get(KAFKA_SERVERS_VARIABLE)):
            return servers
        self.broker = self._stack.enter_context(disposable_broker())
        return self.broker.bootstrap_servers

    def own_broker(self) -> Broker:
        """The broker that this experiment may stop."""
        if self.broker is None or self.plan.broker != "own":
            raise ExperimentError(
                "this experiment may not stop the shared broker: set broker: own in the arguments "
                "of its control"
            )
        return self.broker

    def add_worker(self) -> Child:
        """Start another worker."""
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Child.of_latentwatch(["worker"], log, self.settings.environment())
        self.workers.append(worker)
        return worker

    def worker(self, number: int) -> Child:
        """Return a worker by its number, from 0 in the order they were started."""
        if not 0 <= number < len(self.workers):
            raise ExperimentError(
                f"there is no worker {number}: {len(self.workers)} were started, numbered from 0"
            )
        return self.workers[number]

    def note_fault(self) -> None:
        """Remember when the latest fault began or ended: recovery is timed from there."""
        self.fault_at = time.monotonic()

    def play(self, name: str, seconds: float, options: dict[str, Any]) -> dict[str, Any]:
        """Play a stretch of traffic from the next free hour of event time; wait for its end.

        Returns
        -------
        dict
            What the player reports.
        """
        with self._lock:
            number, start_ns = self._stretches, self._next_ns
            self._stretches += 1
            self._next_ns += -(-int(seconds * 10**9) // HOUR_NS) * HOUR_NS
        identity = f"{number:02d}-{name}"
        command = [
            *TRAFFIC, "play", *self.plan.target_arguments(),
            f"--bootstrap-servers={self.settings.bootstrap_servers}",
            f"--topic={self.settings.topics().activations}",
            f"--model={self.plan.model}", f"--version={self.plan.version}",
            f"--name={identity}", f"--truth={self.folder / f'truth-{identity}.jsonl'}",
            f"--start-ns={start_ns}", f"--seconds={seconds}", f"--seed={self.plan.seed + number}",
            *(f"--{key.replace('_', '-')}={value}" for key, value in options.items()),
        ]  # fmt: skip
        return self._play(command, identity)

    def note_replayed(self, url: str) -> int:
        """Add the replayed requests of a recording to the truth; return how many."""
        from latentwatch.stream.recording import Recording

        requests = Recording(url).select(model=self.plan.model, version=self.plan.version)
        rows = requests.requests().select(["request_id", "event_time"])
        times = rows["event_time"].cast("int64").to_pylist()
        now = time.time_ns()
        lines = [
            {
                "request_id": request_id,
                "event_time_ns": event_time_ns,
                "sent_at_ns": now,
                "kind": "replayed",
                "adversarial": False,
                "published": True,
            }
            for request_id, event_time_ns in zip(rows["request_id"].to_pylist(), times, strict=True)
        ]
        with self._lock:
            number = self._stretches
            self._stretches += 1
        text = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        (self.folder / f"truth-{number:02d}-replayed.jsonl").write_bytes(text)
        return len(lines)

    def _play(self, command: list[str], identity: str) -> dict[str, Any]:
        player = Child(command, self.folder / f"player-{identity}.log")
        self._players.append(player)
        code = player.wait()
        player.stop()
        if code:
            raise ExperimentError(f"the player ended with exit code {code}:\n{player.tail()}")
        found: dict[str, Any] = orjson.loads(player.log.read_bytes().splitlines()[-1])
        self.played.append(found)
        return found

    def sent(self) -> int:
        """Count the requests since the warm-up, including messages lost on purpose."""
        files = self.folder.glob("truth-*.jsonl")
        lines = sum(path.read_bytes().count(b"\n") for path in files if WARM_UP not in path.name)
        return lines

    def truth(self) -> Truth:
        """Read the truth about the requests sent so far."""
        rows = []
        for path in sorted(self.folder.glob("truth-*.jsonl")):
            stretch = int(path.name.split("-")[1])
            text = path.read_bytes()
            for line in text[: text.rfind(b"\n") + 1].splitlines():
                rows.append({**orjson.loads(line), "stretch": stretch})
        return Truth.of(rows)

    def seen(self) -> Seen:
        """Read what the workers have published so far."""
        return read_outputs(self.settings, tuple(view.name for view in self.baseline.views))


def start_system(plan: SystemPlan, folder: Path, material: Path) -> System:
    """Start the system of an experiment."""
    global _current
    if _current is not None:
        raise ExperimentError("another experiment is running in this process: wait for its end")
    system = System(plan, folder, material)
    system.start()
    _current = system
    return system


def stop_system() -> None:
    """Stop the system of the experiment, if there is one."""
    global _current
    system, _current = _current, None
    if system is not None:
        system.stop()


def running() -> System:
    """Return the system of the experiment.

    Raises
    ------
    ExperimentError
        No system is running: the experiment's file lacks the control.
    """
    if _current is None:
        raise ExperimentError(
            "there is no system under test: put the control latentwatch.chaos.control into the "
            "experiment, as experiments/README.md shows"
        )
    return _current
