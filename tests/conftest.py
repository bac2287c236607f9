"""Shared fixtures: brokers, isolated settings, and a clean environment."""

import logging
import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from latentwatch.lab.brokers import KafkaBroker, MockBroker
from latentwatch.stream.settings import Settings
from latentwatch.stream.settings.sources import KAFKA_SERVERS_VARIABLE, OTHER_VARIABLES, PREFIX

# Set before anything imports torch or numpy, for this process and its children: brokers and
# workers share few cores with the tests.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings must not reach the tests."""
    for name in list(os.environ):
        if name == KAFKA_SERVERS_VARIABLE or (
            name.startswith(PREFIX) and name not in OTHER_VARIABLES
        ):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _log_levels_of_libraries() -> Iterator[None]:
    """Some commands silence the loggers of libraries for the rest of their process."""
    levels = {name: logging.getLogger(name).level for name in ("aiokafka", "apprise")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real Kafka for the whole run; a test that kills it must restart it."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_broker: KafkaBroker) -> str:
    """Address of the real Kafka."""
    return kafka_broker.bootstrap_servers


@pytest.fixture(scope="session")
def mock_bootstrap() -> Iterator[str]:
    """Address of librdkafka's mock cluster."""
    with MockBroker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def topic_prefix() -> str:
    """A unique prefix of topics, also used as the consumer group."""
    return f"t{uuid4().hex[:10]}."


@pytest.fixture
def settings(kafka_bootstrap: str, topic_prefix: str) -> Settings:
    """Settings for the real Kafka, with topics and a consumer group of the test's own."""
    return Settings(
        bootstrap_servers=kafka_bootstrap,
        topic_prefix=topic_prefix,
        application_id=topic_prefix.rstrip("."),
    )
