"""A real Apache Kafka, one node in KRaft mode, as a child process on the loopback interface."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from latentwatch.lab.brokers.java import KAFKA_VERSION, find_java, kafka_jars
from latentwatch.lab.brokers.kafka_files import (
    HOST,
    MoreListeners,
    free_port,
    is_free,
    new_cluster_id,
    write_configuration,
)
from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.processes import guard

__all__ = ["KafkaBroker", "answers"]

START_SECONDS = 90.0
# Longer than the guard waits before it kills.
STOP_SECONDS = 20.0
FORMAT_SECONDS = 60.0
POLL_SECONDS = 0.05
# Between choosing a free port and Kafka binding it, another process may take it.
PORT_ATTEMPTS = 3
LOG_LINES_SHOWN = 15
CONNECT_SECONDS = 1.0
REQUEST_MS = 5_000

# A small heap, a cheap compiler and collector: the broker shares a laptop with the demo.
JVM_OPTIONS = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_GUARD = Path(guard.__file__)


class KafkaBroker:
    """Apache Kafka from its Maven artefacts, started by ``with`` and stopped at its end.

    It does not outlive this process, however that ends. Ctrl-C in the terminal does not reach it,
    so that a worker can still write its state while it drains.

    Parameters
    ----------
    port
        Port to listen on, a free one by default.
    data
        Folder that keeps the data and the logs; by default a temporary one, removed at the end.
    progress
        Called with a few words about what takes time.
    more
        Listeners in addition to the plain one, such as those with TLS.
    cluster_id
        Id of the cluster that this node belongs to; a new one by default.

    Raises
    ------
    BrokerError
        At the start: no Java, no jars, a port in use, or Kafka ended; then the message has the end
        of its log.
    """

    kind = "kafka"

    def __init__(
        self,
        *,
        port: int | None = None,
        data: Path | None = None,
        progress: Callable[[str], None] | None = None,
        more: MoreListeners | None = None,
        cluster_id: str | None = None,
    ) -> None:
        self._wanted_port = port
        self._cluster_id = cluster_id or new_cluster_id()
        self._more = more
        self._data = data
        self._progress = progress or (lambda text: None)
        self._java: list[str] = []
        self._port: int | None = None
        self._folder: Path | None = None
        self._guard: subprocess.Popen[str] | None = None

    def __repr__(self) -> str:
        state = f"at {HOST}:{self._port}" if self._guard else "stopped"
        return f"<KafkaBroker {KAFKA_VERSION} {state}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients; known once started."""
        if self._port is None:
            raise BrokerError("the broker has no address yet: start it first")
        return f"{HOST}:{self._port}"

    @property
    def folder(self) -> Path:
        """The folder with data, configuration and ``broker.log``; known once started."""
        if self._folder is None:
            raise BrokerError("the broker has no data folder yet: start it first")
        return self._folder

    def prepare(self) -> None:
        """Find Java and the jars, without starting anything; raise if Kafka is not available."""
        if not self._java:
            java = find_java()
            class_path = os.pathsep.join(map(str, kafka_jars(self._progress)))
            self._java = [str(java), *JVM_OPTIONS, "-cp", class_path]

    def start(self) -> None:
        """Start Kafka and wait until it answers."""
        if self._guard is not None:
            raise BrokerError("the broker is already running: stop it first, or call restart")
        self.prepare()
        self._progress(f"starting Kafka {KAFKA_VERSION}")
        if self._data is not None:
            self._data.mkdir(parents=True, exist_ok=True)
            self._folder = self._data.resolve()
        else:
            self._folder = Path(tempfile.mkdtemp(prefix="latentwatch-kafka-"))
        try:
            self._launch_on_some_port()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop Kafka cleanly, and remove its data if they are temporary."""
        self._order("stop")
        if self._folder is not None and self._data is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None
        self._port = None

    def kill(self) -> None:
        """Kill Kafka (SIGKILL) and keep its data, as a power cut would."""
        self._order("kill")

    def restart(self) -> None:
        """Start Kafka again with the same data and port; stop it cleanly first if it is running."""
        port = int(self.bootstrap_servers.rpartition(":")[2])
        self._order("stop")
        self._launch(port)

    def _launch_on_some_port(self) -> None:
        for remaining in reversed(range(PORT_ATTEMPTS)):
            port = self._wanted_port or free_port()
            try:
                self._launch(port)
                return
            except BrokerError as error:
                another_may_do = "already in use" in str(error) and not self._wanted_port
                if not another_may_do or not remaining:
                    raise

    def _launch(self, port: int) -> None:
        if not is_free(port):
            raise BrokerError(
                f"port {port} of {HOST} is already in use: choose another one, or leave it out "
                "to get a free one"
            )
        log = self.folder / "broker.log"
        properties, log4j = write_configuration(self.folder, log, port, self._more)
        java = [*self._java[:1], f"-Dlog4j2.configurationFile={log4j}", *self._java[1:]]
        with (self.folder / "java.out").open("a") as output:
            self._format(java, properties, output)
            self._guard = self._start_guarded([*java, "kafka.Kafka", str(properties)], output)
        self._port = port
        self._wait_until_it_answers()

    def _format(self, java: list[str], properties: Path, output: IO[str]) -> None:
        """Format the data folder, unless an earlier start has done so."""
        if (self.folder / "logs" / "meta.properties").exists():
            return
        tool = ["kafka.tools.StorageTool", "format"]
        options = ["--cluster-id", self._cluster_id, "--config", str(properties)]
        done = subprocess.run(
            [*java, *tool, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=FORMAT_SECONDS,
        )
        if done.returncode != 0:
            raise BrokerError(self._with_log("Kafka could not format its data folder"))

    def _start_guarded(self, command: list[str], output: IO[str]) -> "subprocess.Popen[str]":
        to_remove = "" if self._data else str(self.folder)
        return subprocess.Popen(
            [sys.executable, "-I", str(_GUARD), to_remove, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            # Out of the terminal's process group: Ctrl-C is for this process, not for Kafka.
            start_new_session=True,
        )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.bootstrap_servers):
            if self._guard is None or self._guard.poll() is not None:
                raise BrokerError(self._with_log("Kafka ended while it started"))
            if time.monotonic() > deadline:
                raise BrokerError(
                    self._with_log(f"Kafka does not answer after {START_SECONDS:.0f} s")
                )
            time.sleep(POLL_SECONDS)

    def _order(self, order: str) -> None:
        """Give the guard an order, and wait until it is done."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        with contextlib.suppress(BrokenPipeError):  # the guard has ended, and Kafka before it
            guard.communicate(order + "\n", timeout=STOP_SECONDS)

    def _with_log(self, what: str) -> str:
        tails = []
        for name in ("java.out", "broker.log"):
            path = self.folder / name
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                tails.append("\n".join([f"--- end of {name}", *lines]))
        return "\n".join([f"{what}: correct what its log says and try again", *tails])


def answers(bootstrap_servers: str) -> bool:
    """Return whether the broker answers a metadata request and names itself in it."""
    host, _, port = bootstrap_servers.rpartition(":")
    try:
        # aiokafka logs each refused connection as an error; while a broker starts, it is not one
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError:
        return False
    # In a separate thread, because the caller may already be running an event loop.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(lambda: asyncio.run(_knows_a_broker(bootstrap_servers))).result()


async def _knows_a_broker(bootstrap_servers: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_MS)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
