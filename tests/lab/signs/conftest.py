"""A small network that has learnt something, trained once for all tests, and topics to play to."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.progress import Progress
from torch import Tensor

from latentwatch.detector import Baseline
from latentwatch.lab.signs.adaptive import Knowledge
from latentwatch.lab.signs.attack import Recognised, recognised
from latentwatch.lab.signs.checkpoints import load_or_train
from latentwatch.lab.signs.detector_view import DetectorView
from latentwatch.lab.signs.drawing import draw_signs
from latentwatch.lab.signs.network import SignNetwork, observe
from latentwatch.lab.signs.templates import CLASS_NAMES
from latentwatch.lab.signs.training import TrainingSettings


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


@pytest.fixture(scope="session")
def baseline(network_cache: Path, small_settings: TrainingSettings) -> Baseline:
    """What the detector knows of the network of the small settings: its three captured layers."""
    with Progress(disable=True) as progress:
        model, _ = load_or_train(small_settings, network_cache, progress)
    seen = observe(model, draw_signs(640, seed=21)[0])
    return Baseline.fit(
        seen.activations,
        seen.predicted,
        model="signs",
        version="1",
        classes=len(CLASS_NAMES),
        longest_window=32,
        simulated_requests=20_000,
        drop_constant=True,
        rare_classes="pool",
    )


@pytest.fixture(scope="session")
def baseline_file(baseline: Baseline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("baselines") / "1.safetensors"
    baseline.save(str(file))
    return file


@pytest.fixture(scope="session")
def knowledge(
    network_cache: Path, small_settings: TrainingSettings, baseline_file: Path
) -> Knowledge:
    """An attacker who knows the network of the small settings and its baseline."""
    with Progress(disable=True) as progress:
        model, _ = load_or_train(small_settings, network_cache, progress)
    return Knowledge(model, DetectorView.read(baseline_file))


@pytest.fixture(scope="session")
def pictures(knowledge: Knowledge) -> Recognised:
    """Pictures for an attack: one short batch."""
    return recognised(knowledge.model, 32, seed=11)


@pytest.fixture(scope="session")
def is_allowed() -> Callable[[Tensor, Tensor, float], bool]:
    """Whether changed pictures stay near their originals and are what 8-bit files can carry."""

    def check(changed: Tensor, images: Tensor, eps: float) -> bool:
        near = (changed.double() - images.double()).abs().max().item() <= eps
        on_grid = torch.equal(changed, (changed.clamp(0, 1) * 255).round() / 255)
        return near and on_grid and changed.shape == images.shape

    return check


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
