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
    """What every broker offers."""

    @property
    def kind(self) -> str:
        """``"kafka"``, ``"mock"`` or ``"external"``."""

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """A broker that runs already."""

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
    """Give a broker for the length of a ``with``, and stop it afterwards if it was started.

    Parameters
    ----------
    kind
        ``"kafka"`` or ``"mock"`` start one of that kind. ``"auto"`` takes the one that
        ``LATENTWATCH_BOOTSTRAP_SERVERS`` or ``KAFKA_BOOTSTRAP_SERVERS`` names; else it starts
        Kafka; else, where Java or the artefacts are not to be had, the mock cluster.
    progress
        Is told in a few words what takes time.
    warn
        Is told the limits of the mock cluster, and why it was taken.
    topics
        Topics with numbers of partitions that the mock cluster shall have; see ``MockBroker``.

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
    if kind == "kafka" or (kind == "auto" and _can_be_had(kafka, warn)):
        with kafka:
            yield kafka
        return
    warn(MOCK_LIMITS)
    with MockBroker(topics=topics) as mock:
        yield mock


def _can_be_had(kafka: KafkaBroker, warn: Callable[[str], None]) -> bool:
    try:
        kafka.prepare()
    except BrokerError as error:
        warn(str(error))
        return False
    return True
