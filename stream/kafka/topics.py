"""The topics that the service needs, and their creation.

Topics that keep records for a time stamp them on arrival (``LogAppendTime``): a replay of last
year's recording would otherwise be past its retention the moment it is written. Event time
travels inside the messages.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from latentwatch.stream.core.errors import BrokerError, TopicError
from latentwatch.stream.settings import Settings

__all__ = [
    "Outcome",
    "TopicSpec",
    "create_topics",
    "partition_count",
    "partition_counts",
    "required_partitions",
    "topic_specs",
]

Outcome = Literal["created", "exists"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MIB = 1 << 20

# A dead letter is the message as it came plus headers that say why: it needs more room.
DEAD_LETTER_HEADROOM = 64 << 10

LEADER_TIMEOUT_SECONDS = 30.0

# librdkafka's mock cluster names itself so; it has no admin API.
MOCK_CLUSTER_ID = "mockCluster"

_ERROR_ALREADY_EXISTS = 36
_ERROR_INVALID_REPLICATION = 38


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be.

    Parameters
    ----------
    name
        Full name, prefix included.
    partitions
        Number of partitions.
    config
        Kafka's topic settings.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


def topic_specs(settings: Settings) -> tuple[TopicSpec, ...]:
    """Return the topics that the service needs, in the order of ``Topics``.

    Examples
    --------
    >>> [spec.name for spec in topic_specs(Settings())][:3]
    ['activations', 'alerts', 'flagged-requests']
    """
    names = settings.topics()
    inputs, outputs = settings.partitions, settings.output_partitions
    large = settings.max_message_bytes
    configs = [
        (names.activations, inputs, _kept(DAY_MS, large)),
        (names.alerts, outputs, _compacted()),
        (names.flagged_requests, outputs, _kept(7 * DAY_MS)),
        (names.detection_rates, outputs, _compacted()),
        (names.hour_sketches, outputs, _hour_sketches(settings)),
        (names.lane_state, inputs, _lane_state(large)),
        (names.dead_letter, outputs, _kept(30 * DAY_MS, large + DEAD_LETTER_HEADROOM)),
    ]
    return tuple(
        TopicSpec(name, partitions, {**_durability(settings), **config})
        for name, partitions, config in configs
    )


def _durability(settings: Settings) -> dict[str, str]:
    # With three copies or more, a write that only one of them has seen is not acknowledged.
    return {"min.insync.replicas": "2"} if settings.replication_factor >= 3 else {}


def _kept(retention_ms: int, max_message_bytes: int | None = None) -> dict[str, str]:
    config = {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "message.timestamp.type": "LogAppendTime",
    }
    if max_message_bytes is not None:
        config["max.message.bytes"] = str(max_message_bytes)
    return config


def _compacted() -> dict[str, str]:
    return {"cleanup.policy": "compact"}


def _hour_sketches(settings: Settings) -> dict[str, str]:
    return {
        "cleanup.policy": "compact,delete",
        "retention.ms": str(settings.hour_sketch_retention_hours * HOUR_MS),
        # Only closed segments are compacted or deleted.
        "segment.ms": str(HOUR_MS),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(settings.max_message_bytes),
    }


def _lane_state(max_message_bytes: int) -> dict[str, str]:
    # A lane's row is written again every few seconds and a restart reads the topic to its end,
    # so it has to stay short: small segments, compacted soon.
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(10 * 60_000),
        "segment.bytes": str(max(64 * MIB, max_message_bytes)),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": str(HOUR_MS),
        "max.message.bytes": str(max_message_bytes),
    }


async def create_topics(settings: Settings) -> dict[str, Outcome]:
    """Create the topics that are missing, and wait until all of them have leaders.

    Topics that are there keep their configuration. On librdkafka's mock cluster, which has no
    admin API, the missing ones come into being with the partitions that it gives to any topic.

    Returns
    -------
    dict
        For each topic, whether it was ``"created"`` or ``"exists"`` already.

    Raises
    ------
    BrokerError
        If no broker answers.
    TopicError
        If a topic cannot be created, gets no leader in time, or ``activations`` and
        ``lane-state`` have other partitions than the settings say.
    """
    specs = topic_specs(settings)
    async with _admin(settings) as admin:
        cluster = await admin.describe_cluster()
        on_mock = str(cluster.get("cluster_id")).startswith(MOCK_CLUSTER_ID)
        described = await admin.describe_topics()
        before = {topic["topic"] for topic in described}
        _check_partitions(settings, _partition_counts(described), exact=not on_mock)
        missing = [spec for spec in specs if spec.name not in before]
        if on_mock:
            # Asking the mock cluster for a topic makes it.
            await admin.describe_topics([spec.name for spec in missing] or None)
            created = {spec.name for spec in missing}
        else:
            created = await _create(admin, missing, settings)
        after = await _wait_for_leaders(admin, [spec.name for spec in specs])
        _check_partitions(settings, after, exact=not on_mock)
    return {spec.name: "created" if spec.name in created else "exists" for spec in specs}


async def partition_count(settings: Settings, topic: str) -> int:
    """Partitions of a topic.

    Raises
    ------
    BrokerError
        If no broker answers.
    TopicError
        If there is no such topic.
    """
    return (await required_partitions(settings, [topic]))[topic]


async def required_partitions(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """Partitions of topics that must exist.

    Raises
    ------
    BrokerError
        No broker answers.
    TopicError
        One of the topics does not exist.
    """
    wanted = list(topics)
    counts = await partition_counts(settings, wanted)
    for topic in wanted:
        if topic not in counts:
            raise TopicError(
                f"there is no topic {topic!r}: check topic_prefix, or create it with "
                "`latentwatch topics`"
            )
    return counts


async def partition_counts(settings: Settings, topics: Iterable[str]) -> dict[str, int]:
    """Partitions of those of the topics that exist and have their leaders.

    Raises
    ------
    BrokerError
        If no broker answers.
    """
    async with _admin(settings) as admin:
        return _partition_counts(await admin.describe_topics(list(topics)))


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    try:
        try:
            await admin.start()
            yield admin
        except (KafkaError, OSError, TimeoutError) as error:
            raise BrokerError(
                f"the broker at {settings.bootstrap_servers} does not answer ({error!r}): check "
                "bootstrap_servers and the security settings, or start one with "
                "`latentwatch broker`"
            ) from error
    finally:
        await admin.close()


def _partition_counts(described: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of partitions of the topics whose partitions all have a leader."""
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in described
        if topic["error_code"] == 0
        and topic["partitions"]
        and all(partition["leader"] >= 0 for partition in topic["partitions"])
    }


def _check_partitions(settings: Settings, counts: Mapping[str, int], *, exact: bool) -> None:
    names = settings.topics()
    pair = (names.activations, names.lane_state)
    if not exact and len({counts[name] for name in pair if name in counts}) <= 1:
        return
    for name in pair:
        count = counts.get(name, settings.partitions)
        if count != settings.partitions:
            raise TopicError(
                f"topic {name!r} has {count} partitions, and the settings say "
                f"{settings.partitions}: set partitions (LATENTWATCH_PARTITIONS) to the number "
                f"of {names.activations!r}, and give {names.lane_state!r} as many (add "
                "partitions, or delete the topic while no worker runs: a lane then starts "
                "afresh), or choose another topic_prefix"
            )


async def _create(
    admin: AIOKafkaAdminClient, specs: Iterable[TopicSpec], settings: Settings
) -> set[str]:
    """Create the topics and return the names of those that were not there after all."""
    topics = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=settings.replication_factor,
            topic_configs=dict(spec.config),
        )
        for spec in specs
    ]
    if not topics:
        return set()
    response = await admin.create_topics(topics)
    for name, code, reason in response.topic_errors:
        if code == _ERROR_INVALID_REPLICATION:
            raise TopicError(
                f"topic {name!r} cannot have {settings.replication_factor} copies ({reason}): "
                "set replication_factor to at most the number of brokers"
            )
        # Another process may have been faster: that is as good.
        if code not in (0, _ERROR_ALREADY_EXISTS):
            raise TopicError(
                f"topic {name!r} was not created (Kafka error {code}: {reason}): create it "
                "by hand, or give this user the right to create topics"
            )
    return {name for name, code, _ in response.topic_errors if code == 0}


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    deadline = asyncio.get_running_loop().time() + LEADER_TIMEOUT_SECONDS
    while True:
        counts = _partition_counts(await admin.describe_topics(names))
        missing = [name for name in names if name not in counts]
        if not missing:
            return counts
        if asyncio.get_running_loop().time() > deadline:
            raise TopicError(
                f"no leader for {', '.join(missing)} after {LEADER_TIMEOUT_SECONDS:.0f} s: "
                "check that all brokers of the cluster are up, then try again"
            )
        await asyncio.sleep(0.1)
