"""librdkafka's mock cluster as a broker: good for a first look where Kafka is not available."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from latentwatch.stream.core.errors import BrokerError

__all__ = ["MOCK_LIMITS", "MockBroker"]

MOCK_LIMITS = (
    "librdkafka's mock cluster stands in for Kafka, good for a first look only: it keeps "
    "everything in memory and at most 5 MiB of each partition, allows one worker, and gives "
    "every topic 4 partitions"
)

STOP_SECONDS = 10.0

_PROGRAM = Path(__file__).with_name("mock_cluster.py")


class MockBroker:
    """The mock cluster in a child process, started by ``with`` and stopped at its end.

    ``lab/brokers/mock_cluster.py`` lists what works and what does not.

    Parameters
    ----------
    topics
        Topics to create, with their numbers of partitions; others get 4 partitions on first use.

    Raises
    ------
    BrokerError
        At the start, if confluent-kafka is not installed or the cluster does not start.
    """

    kind = "mock"

    def __init__(self, *, topics: Mapping[str, int] | None = None) -> None:
        self._topics = dict(topics or {})
        self._process: subprocess.Popen[str] | None = None
        self._address: str | None = None

    def __repr__(self) -> str:
        return f"<MockBroker {f'at {self._address}' if self._address else 'stopped'}>"

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
        if self._address is None:
            raise BrokerError("the mock cluster has no address yet: start it first")
        return self._address

    def start(self) -> None:
        """Start the cluster and wait for its address."""
        if importlib.util.find_spec("confluent_kafka") is None:
            raise BrokerError(
                "the mock cluster needs the package confluent-kafka: "
                "`pip install 'latentwatch[demo]'`"
            )
        topics = [f"{name}={count}" for name, count in self._topics.items()]
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", str(_PROGRAM), *topics],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Out of the terminal's process group: Ctrl-C is only for this process.
            start_new_session=True,
        )
        assert process.stdout is not None
        self._address = process.stdout.readline().strip() or None
        if self._address is None:
            self._process = None
            _, reason = process.communicate(timeout=STOP_SECONDS)
            raise BrokerError(
                f"the mock cluster did not start ({reason.strip()[-500:]}): "
                "set KAFKA_BOOTSTRAP_SERVERS to a broker that is already running"
            )

    def stop(self) -> None:
        """Stop the cluster; its content is lost."""
        process, self._process, self._address = self._process, None, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            # Closes its standard input, which it waits for.
            process.communicate(timeout=STOP_SECONDS)
