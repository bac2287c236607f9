"""Brokers for the demo, tests and first steps.

``KafkaBroker``
    a real Apache Kafka as a child process, from its Maven artefacts; needs Java 17;
``MockBroker``
    librdkafka's mock cluster, for machines without Java or the artefacts;
``ExternalBroker``
    one that is already running; nothing is started or stopped.

`open_broker` chooses among them.
"""

from latentwatch.lab.brokers.choice import Broker, ExternalBroker, open_broker
from latentwatch.lab.brokers.java import KAFKA_VERSION
from latentwatch.lab.brokers.kafka import KafkaBroker
from latentwatch.lab.brokers.mock import MOCK_LIMITS, MockBroker

__all__ = [
    "KAFKA_VERSION",
    "MOCK_LIMITS",
    "Broker",
    "ExternalBroker",
    "KafkaBroker",
    "MockBroker",
    "open_broker",
]
