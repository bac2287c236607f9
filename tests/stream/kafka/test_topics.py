import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from latentwatch.stream.core.errors import BrokerError, TopicError
from latentwatch.stream.kafka.topics import create_topics, topic_specs
from latentwatch.stream.settings import Settings


async def admin_call(settings: Settings, name: str, *arguments: Any) -> Any:
    admin = AIOKafkaAdminClient(**settings.kafka_options())
    await admin.start()
    try:
        return await getattr(admin, name)(*arguments)
    finally:
        await admin.close()


def make_topic(settings: Settings, name: str, partitions: int) -> None:
    response = asyncio.run(admin_call(settings, "create_topics", [NewTopic(name, partitions, 1)]))
    assert response.topic_errors[0][1] == 0


def partition_counts(settings: Settings) -> dict[str, int]:
    described = asyncio.run(admin_call(settings, "describe_topics"))
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


def topic_config(settings: Settings, name: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    responses = asyncio.run(admin_call(settings, "describe_configs", [resource]))
    entries = responses[0].resources[0][4]
    return {entry[0]: entry[1] for entry in entries}


def specs_by_role(settings: Settings) -> dict[str, Any]:
    names = settings.topics()
    specs = {spec.name: spec for spec in topic_specs(settings)}
    return {role: specs.pop(getattr(names, role)) for role in names.roles()} | specs


def test_there_is_one_topic_for_each_role() -> None:
    settings = Settings(topic_prefix="p.")
    assert tuple(specs_by_role(settings)) == settings.topics().roles()


def test_lane_state_has_as_many_partitions_as_activations() -> None:
    specs = specs_by_role(Settings(partitions=9, output_partitions=2))
    assert (specs["activations"].partitions, specs["lane_state"].partitions) == (9, 9)
    assert {specs[role].partitions for role in ("alerts", "detection_rates")} == {2}


@pytest.mark.parametrize(
    ("role", "policy"),
    [
        ("activations", "delete"),
        ("alerts", "compact"),
        ("flagged_requests", "delete"),
        ("detection_rates", "compact"),
        ("hour_sketches", "compact,delete"),
        ("lane_state", "compact"),
        ("dead_letter", "delete"),
    ],
)
def test_cleanup_policy_of_each_topic(role: str, policy: str) -> None:
    assert specs_by_role(Settings())[role].config["cleanup.policy"] == policy


def test_dead_letter_has_room_for_the_largest_message_and_its_headers() -> None:
    specs = specs_by_role(Settings(max_message_bytes=2 << 20))
    largest = int(specs["activations"].config["max.message.bytes"])
    assert largest == 2 << 20
    assert int(specs["dead_letter"].config["max.message.bytes"]) >= largest + (32 << 10)


def test_hour_sketches_keep_for_the_hours_of_the_settings() -> None:
    specs = specs_by_role(Settings(hour_sketch_retention_hours=3))
    assert specs["hour_sketches"].config["retention.ms"] == str(3 * 3_600_000)


def test_three_copies_need_two_acknowledgements() -> None:
    configs = [spec.config for spec in topic_specs(Settings(replication_factor=3))]
    assert {config["min.insync.replicas"] for config in configs} == {"2"}


@pytest.mark.broker
def test_topics_are_created_once_and_as_specified(settings: Settings) -> None:
    names = {spec.name for spec in topic_specs(settings)}
    assert asyncio.run(create_topics(settings)) == dict.fromkeys(names, "created")
    assert asyncio.run(create_topics(settings)) == dict.fromkeys(names, "exists")
    counts = partition_counts(settings)
    for spec in topic_specs(settings):
        assert counts[spec.name] == spec.partitions
        assert topic_config(settings, spec.name).items() >= spec.config.items()


@pytest.mark.broker
def test_a_missing_topic_is_added_to_those_that_exist(settings: Settings) -> None:
    make_topic(settings, settings.topics().alerts, 1)
    outcomes = asyncio.run(create_topics(settings))
    assert outcomes.pop(settings.topics().alerts) == "exists"
    assert set(outcomes.values()) == {"created"}
    assert partition_counts(settings)[settings.topics().alerts] == 1


@pytest.mark.broker
@pytest.mark.parametrize("role", ["activations", "lane_state"])
def test_other_partitions_than_the_settings_say_are_refused(settings: Settings, role: str) -> None:
    name = getattr(settings.topics(), role)
    make_topic(settings, name, 2)
    with pytest.raises(TopicError, match=r"has 2 partitions, .* 6: set partitions \(LATENT"):
        asyncio.run(create_topics(settings))
    assert [other for other in partition_counts(settings) if other.startswith(name)] == [name]


@pytest.mark.broker
def test_processes_that_create_at_the_same_time_both_succeed(settings: Settings) -> None:
    async def both() -> list[dict[str, Any]]:
        return await asyncio.gather(create_topics(settings), create_topics(settings))

    for outcomes in asyncio.run(both()):
        assert len(outcomes) == len(topic_specs(settings))


@pytest.mark.broker
def test_more_copies_than_brokers_are_refused(settings: Settings) -> None:
    too_many = Settings(**{**settings.model_dump(exclude_none=True), "replication_factor": 2})
    with pytest.raises(TopicError, match="set replication_factor to at most the number of broke"):
        asyncio.run(create_topics(too_many))


@pytest.mark.broker
def test_the_largest_message_fits_as_a_dead_letter_too(settings: Settings) -> None:
    topics = settings.topics()

    async def send() -> None:
        await create_topics(settings)
        producer = AIOKafkaProducer(
            **settings.kafka_options(), max_request_size=settings.max_message_bytes + (64 << 10)
        )
        await producer.start()
        value = bytes(settings.max_message_bytes - 1024)
        await producer.send_and_wait(topics.activations, value)
        headers = [("reason", b"x" * 10_000)]
        await producer.send_and_wait(topics.dead_letter, value, headers=headers)
        await producer.stop()

    asyncio.run(send())


@pytest.mark.broker
def test_a_replay_of_old_records_is_stamped_on_arrival(settings: Settings) -> None:
    name = settings.topics().activations

    async def stamp() -> int:
        await create_topics(settings)
        producer = AIOKafkaProducer(**settings.kafka_options())
        await producer.start()
        await producer.send_and_wait(name, b"x", partition=0, timestamp_ms=1)
        await producer.stop()
        consumer = AIOKafkaConsumer(**settings.kafka_options())
        await consumer.start()
        consumer.assign([TopicPartition(name, 0)])
        await consumer.seek_to_beginning()
        record = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.stop()
        return int(record.timestamp)

    assert asyncio.run(stamp()) > 1_600_000_000_000


def test_on_the_mock_cluster_the_topics_come_into_being(
    mock_bootstrap: str, topic_prefix: str
) -> None:
    settings = Settings(bootstrap_servers=mock_bootstrap, topic_prefix=topic_prefix)
    assert set(asyncio.run(create_topics(settings)).values()) == {"created"}
    assert set(asyncio.run(create_topics(settings)).values()) == {"exists"}
    counts = partition_counts(settings)
    assert counts[settings.topics().activations] == counts[settings.topics().lane_state] > 0


def test_no_broker_is_said_in_words() -> None:
    with pytest.raises(
        BrokerError, match=r"127\.0\.0\.1:1 does not answer .* `latentwatch broker`"
    ):
        asyncio.run(create_topics(Settings(bootstrap_servers="127.0.0.1:1")))
