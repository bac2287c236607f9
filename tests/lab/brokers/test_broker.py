import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from latentwatch.lab.brokers import MOCK_LIMITS, KafkaBroker, MockBroker, open_broker
from latentwatch.lab.brokers.java import find_java, kafka_jars
from latentwatch.lab.brokers.kafka import answers
from latentwatch.lab.brokers.kafka_files import free_port, new_cluster_id
from latentwatch.lab.cache import cache_folder
from latentwatch.stream.core.errors import BrokerError


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def produce(servers: str, topic: str, values: list[bytes], **options: object) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, **options)
    await producer.start()
    for value in values:
        await producer.send_and_wait(
            topic, value, key=b"key", partition=0, headers=[("name", b"\x00\xff")]
        )
    await producer.stop()


async def consume(servers: str, topic: str, count: int) -> list[tuple[object, ...]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.seek_to_beginning()
    records = [await asyncio.wait_for(consumer.getone(), 20) for _ in range(count)]
    await consumer.stop()
    return [(record.key, record.value, record.headers) for record in records]


async def make_topic(servers: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    """A broker of the test's own, to be harmed."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)


def write_java(folder: Path, version: str) -> None:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)


@pytest.mark.broker
def test_records_come_back_as_they_went(kafka_bootstrap: str, topic_prefix: str) -> None:
    topic = topic_prefix + "t"
    asyncio.run(make_topic(kafka_bootstrap, topic))
    asyncio.run(produce(kafka_bootstrap, topic, [b"a", b"b"], enable_idempotence=True))
    expected = [(b"key", value, (("name", b"\x00\xff"),)) for value in (b"a", b"b")]
    assert asyncio.run(consume(kafka_bootstrap, topic, 2)) == expected


@pytest.mark.broker
def test_topics_are_not_created_by_mistake(kafka_bootstrap: str, topic_prefix: str) -> None:
    async def ask() -> list[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        await admin.start()
        await admin.describe_topics([topic_prefix + "mistyped"])
        topics: list[str] = await admin.list_topics()
        await admin.close()
        return topics

    assert topic_prefix + "mistyped" not in asyncio.run(ask())


@pytest.mark.broker
def test_data_survive_a_kill(broker: KafkaBroker) -> None:
    address = broker.bootstrap_servers
    asyncio.run(make_topic(address, "t"))
    asyncio.run(produce(address, "t", [b"before"]))
    broker.kill()
    assert not answers(address)
    broker.restart()
    assert broker.bootstrap_servers == address
    asyncio.run(produce(address, "t", [b"after"]))
    assert [record[1] for record in asyncio.run(consume(address, "t", 2))] == [b"before", b"after"]


@pytest.mark.broker
def test_given_folder_and_port_are_used_and_kept(tmp_path: Path) -> None:
    port, data = free_port(), tmp_path / "data"
    with KafkaBroker(port=port, data=data) as broker:
        asyncio.run(make_topic(broker.bootstrap_servers, "t"))
        asyncio.run(produce(broker.bootstrap_servers, "t", [b"kept"]))
    with KafkaBroker(port=port, data=data) as broker:
        assert broker.bootstrap_servers == f"127.0.0.1:{port}"
        records = asyncio.run(consume(broker.bootstrap_servers, "t", 1))
    assert records[0][1] == b"kept"
    assert (data / "broker.log").exists()


@pytest.mark.broker
def test_taken_port_is_refused(kafka_bootstrap: str) -> None:
    port = int(kafka_bootstrap.rpartition(":")[2])
    with pytest.raises(BrokerError, match=f"port {port} .* already in use"):
        KafkaBroker(port=port).start()


@pytest.mark.broker
def test_the_error_contains_what_kafka_logged(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    # Looks formatted, by something that is not Kafka.
    (tmp_path / "logs" / "meta.properties").write_text("version=99\n")
    with pytest.raises(BrokerError, match=r"Kafka ended while it started(.|\n)*meta\.properties"):
        KafkaBroker(data=tmp_path).start()


@pytest.mark.broker
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT])
def test_broker_does_not_outlive_its_owner(death: signal.Signals) -> None:
    program = (
        "import time; from latentwatch.lab.brokers import KafkaBroker\n"
        "with KafkaBroker() as broker:\n"
        "    print(broker.bootstrap_servers, broker.folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        address, folder = owner.stdout.readline().split()
        assert answers(address)
        # To its whole process group, as a terminal does on Ctrl-C.
        os.killpg(owner.pid, death)
    assert wait_until(lambda: not answers(address))
    assert wait_until(lambda: not Path(folder).exists())


@pytest.mark.broker
def test_second_start_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, kafka_bootstrap: str
) -> None:
    java = find_java()
    monkeypatch.setenv("PATH", str(java.parent))
    monkeypatch.setattr("socket.socket.connect", _no_network)
    said: list[str] = []
    assert len(kafka_jars(said.append)) > 30
    assert said == []


def _no_network(*_arguments: object) -> None:
    raise OSError("there is no network in this test")


@pytest.mark.broker
def test_damaged_jar_in_the_cache_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kafka_bootstrap: str
) -> None:
    jars = kafka_jars(lambda text: None)
    shutil.copytree(jars[0].parent, tmp_path / jars[0].parent.name)
    monkeypatch.setenv("LATENTWATCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", _no_network)
    (copied := kafka_jars(lambda text: None)[0]).write_bytes(b"half a j")
    assert copied.is_relative_to(tmp_path)
    with pytest.raises(BrokerError, match=r"could not be fetched .*jgo: .*mvn: not installed"):
        kafka_jars(lambda text: None)


def test_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LATENTWATCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "latentwatch"
    monkeypatch.setenv("LATENTWATCH_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_java_home_comes_before_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_java(tmp_path, "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == tmp_path / "bin" / "java"


@pytest.mark.usefixtures("no_java")
def test_old_java_is_refused_by_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_java(tmp_path / "eight", "1.8.0_402")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "eight"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.defpath}")
    shutil.copy2(tmp_path / "eight" / "bin" / "java", tmp_path / "java")
    with pytest.raises(BrokerError, match="is Java 8"):
        find_java()


@pytest.mark.usefixtures("no_java")
def test_a_missing_java_is_reported_in_words() -> None:
    with pytest.raises(BrokerError, match=r"needs Java 17 or newer \(there is none\): install one"):
        KafkaBroker().start()


def test_named_broker_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    with open_broker() as broker:
        assert (broker.kind, broker.bootstrap_servers) == ("external", "kafka.example:9092")


@pytest.mark.broker
def test_without_a_named_broker_kafka_is_started_and_removed_afterwards() -> None:
    said: list[str] = []
    with open_broker(progress=said.append, warn=pytest.fail) as broker:
        assert isinstance(broker, KafkaBroker)
        address, folder = broker.bootstrap_servers, broker.folder
        assert answers(address)
        assert folder.exists()
    assert any("starting Kafka" in text for text in said)
    assert not answers(address)
    assert not folder.exists()
    with pytest.raises(BrokerError, match="start it first"):
        _ = broker.bootstrap_servers


@pytest.mark.usefixtures("no_java")
def test_without_java_the_mock_cluster_comes_with_a_warning() -> None:
    warnings: list[str] = []
    with open_broker(warn=warnings.append) as broker:
        assert broker.kind == "mock"
        assert answers(broker.bootstrap_servers)
    assert "Java 17" in warnings[0]
    assert warnings[1] == MOCK_LIMITS


@pytest.mark.usefixtures("no_java")
def test_kafka_asked_for_by_name_is_never_replaced() -> None:
    with pytest.raises(BrokerError, match="Java"), open_broker("kafka"):
        pass


@pytest.mark.parametrize("compression", [None, "gzip", "lz4", "zstd", "snappy"])
def test_mock_cluster_gives_records_back_as_they_went(
    mock_bootstrap: str, topic_prefix: str, compression: str | None
) -> None:
    topic = topic_prefix + "t"
    asyncio.run(produce(mock_bootstrap, topic, [b"a", b"b"], compression_type=compression))
    expected = [(b"key", value, (("name", b"\x00\xff"),)) for value in (b"a", b"b")]
    assert asyncio.run(consume(mock_bootstrap, topic, 2)) == expected


def test_mock_cluster_keeps_the_place_of_a_group_of_one(
    mock_bootstrap: str, topic_prefix: str
) -> None:
    topic = topic_prefix + "t"

    async def next_value() -> bytes:
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=mock_bootstrap,
            group_id=topic_prefix,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            # The second consumer waits for the session of the first, though that has left.
            session_timeout_ms=2000,
            heartbeat_interval_ms=500,
        )
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.commit({TopicPartition(topic, 0): record.offset + 1})
        await consumer.stop()
        value: bytes = record.value
        return value

    asyncio.run(produce(mock_bootstrap, topic, [b"first", b"second"]))
    assert asyncio.run(next_value()) == b"first"
    assert asyncio.run(next_value()) == b"second"


def test_mock_cluster_creates_topics_as_asked() -> None:
    async def count(servers: str) -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        described = await admin.describe_topics(["a=b.c"])
        await admin.close()
        return len(described[0]["partitions"])

    with MockBroker(topics={"a=b.c": 7}) as broker:
        assert asyncio.run(count(broker.bootstrap_servers)) == 7


def test_mock_cluster_does_not_outlive_its_owner() -> None:
    program = (
        "import time; from latentwatch.lab.brokers import MockBroker\n"
        "with MockBroker() as broker:\n"
        "    print(broker.bootstrap_servers, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        address = owner.stdout.readline().strip()
        assert answers(address)
        owner.kill()
    assert wait_until(lambda: not answers(address))


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    ids = {new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"[A-Za-f][A-Za-z0-9_-]{21}", id_) for id_ in ids)
