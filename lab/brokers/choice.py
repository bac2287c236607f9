"""Chooses a broker: the user's own, else a real Kafka, else the mock cluster."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

from latentwatch.lab.brokers.kafka import KafkaBroker
from latentwatch.lab.brokers.mock import MOCK_LIMITS, MockBroker
from latentwatch.stream.core.errors import BrokerError
from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE, PREFIX

__all__ = ["Broker", "ExternalBroker", "open_broker"]

BrokerKind = Literal["auto", "kafka", "mock"]

_VARIABLES = (PREFIX + "BOOTSTRAP_SERVERS", KAFKA_SERVERS_VARIABLE)

logger = logging.getLogger(__name__)


class Broker(Protocol):
    """The interface of every broker."""

    @property
    def kind(self) -> str:
        """``"kafka"``, ``"mock"`` or ``"external"``."""

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """A broker that is already running."""

    bootstrap_servers: str
    kind: str = "external"


@contextmanager
def open_broker(
    kind: BrokerKind = "auto",
    *,
    progress: Callable[[str], None] | None = None,
    warn: Callable[[str], None] = logger.warning,
    topics: Mapping[str, int] | None = None,
) -> Iterator[Broker]:
    """Provide a broker in a ``with`` block; if it was started here, stop it afterwards.

    Parameters
    ----------
    kind
        ``"kafka"`` or ``"mock"`` starts one of that kind. ``"auto"`` takes the one that
        ``LATENTWATCH_BOOTSTRAP_SERVERS`` or ``KAFKA_BOOTSTRAP_SERVERS`` names. Otherwise it starts
        Kafka or, if Java or the artefacts are not available, the mock cluster.
    progress
        Called with a few words about what takes time.
    warn
        Called with the limits of the mock cluster, and why it is used.
    topics
        Topics of the mock cluster with their numbers of partitions; see ``MockBroker``.

    Raises
    ------
    BrokerError
        If the broker cannot be started.
    """
    external = next(filter(None, map(os.environ.get, _VARIABLES)), None)
    if kind == "auto" and external:
        yield ExternalBroker(external)
        return
    kafka = KafkaBroker(progress=progress)
    if kind == "kafka" or (kind == "auto" and _is_available(kafka, warn)):
        with kafka:
            yield kafka
        return
    warn(MOCK_LIMITS)
    with MockBroker(topics=topics) as mock:
        yield mock


def _is_available(kafka: KafkaBroker, warn: Callable[[str], None]) -> bool:
    try:
        kafka.prepare()
    except BrokerError as error:
        warn(str(error))
        return False
    return True
