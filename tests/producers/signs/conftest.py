"""A small network that has learnt something, trained once for all tests, and topics to play to."""

import asyncio
import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.progress import Progress

from producers.signs.checkpoints import load_or_train
from producers.signs.network import SignNetwork
from producers.signs.training import TrainingSettings


@pytest.fixture(scope="session")
def small_settings() -> TrainingSettings:
    return TrainingSettings(images=1536, epochs=3, batch_size=32, learning_rate=0.1)


@pytest.fixture(scope="session")
def network_cache(
    tmp_path_factory: pytest.TempPathFactory, small_settings: TrainingSettings
) -> Path:
    """A cache folder that holds the network of the small settings."""
    cache = tmp_path_factory.mktemp("networks")
    with Progress(disable=True) as progress:
        load_or_train(small_settings, cache, progress)
    return cache


@pytest.fixture
def network(network_cache: Path, small_settings: TrainingSettings) -> SignNetwork:
    with Progress(disable=True) as progress:
        model, _ = load_or_train(small_settings, network_cache, progress)
    return model


@pytest.fixture
def silent() -> Progress:
    return Progress(disable=True)


@pytest.fixture
def topic(kafka_bootstrap: str) -> str:
    """A topic of the test's own on the real broker."""
    name = f"activations-{uuid.uuid4()}"
    asyncio.run(_create_topic(kafka_bootstrap, name))
    return name


async def _create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()
