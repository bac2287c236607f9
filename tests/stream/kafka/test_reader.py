"""Consumers from the one constructor: bounded, able to stop, and the loop that reads to the end."""

import ast
import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from latentwatch.lab.brokers import MockBroker
from latentwatch.stream.core.errors import TopicError
from latentwatch.stream.kafka.bounded_batches import NOTE, Bounds
from latentwatch.stream.kafka.reader import (
    Consumer,
    latest_by_key,
    open_consumer,
    read_spans,
    read_topic,
    spans_of,
)
from latentwatch.stream.kafka.transport import PromptApp
from latentwatch.stream.settings import Settings

ROOT = Path(__file__).parents[3]
HOUSES = ("detector", "producers", "stream", "chaos", "lab")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))

MOST = 1 << 20
TOPIC, BOMBED, SHORT = "records", "hostile", "short"
PLACE = TopicPartition("activations", 0)


@asynccontextmanager
async def about_to_fetch_again() -> AsyncIterator[Consumer]:
    """A consumer that lost its broker, and waits before it tries again."""
    with MockBroker(topics={PLACE.topic: 1}) as broker:
        settings = Settings(bootstrap_servers=broker.bootstrap_servers)
        consumer = open_consumer(settings, retry_backoff_ms=60_000)
        await consumer.start()
        consumer.assign([PLACE])
        await consumer.seek_to_beginning(PLACE)
        await consumer.getmany(timeout_ms=200)
    # a fetch that is under way fails at once, and waits for a minute
    await asyncio.sleep(1.0)
    assert any(not fetch.done() for fetch in consumer._fetcher._pending_tasks)
    yield consumer


async def others() -> set[str]:
    """Tasks that are left, by the names of their coroutines."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    return {task.get_coro().__qualname__ for task in left}  # type: ignore[union-attr]


def test_it_stops_completely_and_its_caller_continues() -> None:
    async def scenario() -> set[str]:
        async with about_to_fetch_again() as consumer:
            await consumer.stop()
            return await others()

    assert asyncio.run(scenario()) == set()


def test_aiokafka_alone_would_end_its_caller() -> None:
    async def scenario() -> None:
        async with about_to_fetch_again() as consumer:
            try:
                await AIOKafkaConsumer.stop(consumer)
            finally:
                await consumer.stop()
                await consumer._client.close()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())


def test_a_caller_that_is_cancelled_meanwhile_is_cancelled() -> None:
    async def scenario() -> None:
        async with about_to_fetch_again() as consumer:
            stopping = asyncio.create_task(consumer.stop())
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            consumer._closed = False
            await consumer.stop()

    asyncio.run(scenario())


def test_a_start_that_fails_leaves_nothing_open() -> None:
    async def scenario() -> set[str]:
        consumer = open_consumer(Settings(bootstrap_servers="127.0.0.1:9"))
        with pytest.raises(Exception, match="Unable to bootstrap"):
            await consumer.start()
        return await others()

    # an unclosed consumer would warn
    assert asyncio.run(scenario()) == set()


def names_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imported = [node for node in nodes if isinstance(node, ast.ImportFrom | ast.Import)]
    return names | {alias.name.split(".")[-1] for node in imported for alias in node.names}


def test_nothing_else_builds_a_consumer() -> None:
    found = {str(p.relative_to(ROOT)) for p in SOURCES if "AIOKafkaConsumer" in names_of(p)}
    assert found == {"stream/kafka/reader.py"}


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """A broker with ten ordinary records in one topic and hostile ones in another."""
    with MockBroker(topics={TOPIC: 2, BOMBED: 1, SHORT: 1}) as broker:
        settings = Settings(bootstrap_servers=broker.bootstrap_servers, max_message_bytes=MOST)
        asyncio.run(_fill(settings))
        yield settings


async def _fill(settings: Settings) -> None:
    options = settings.kafka_options()
    async with AIOKafkaProducer(
        **options, max_request_size=1 << 30, compression_type="zstd"
    ) as producer:
        for n in range(10):
            await producer.send_and_wait(TOPIC, b"%d" % n, b"k%d" % (n % 2), n % 2)
        await producer.send_and_wait(TOPIC, b"no key", None, 0)
        await producer.send_and_wait(SHORT, b"a", b"kept", 0)
        await producer.send_and_wait(SHORT, b"a", b"deleted", 0)
        await producer.send_and_wait(SHORT, None, b"deleted", 0)
        await producer.send_and_wait(SHORT, b"b", b"kept", 0)
        # 64 MiB that compression hides from the broker
        await producer.send_and_wait(BOMBED, bytes(64 * MOST), b"bomb", 0)
        await producer.send_and_wait(BOMBED, bytes(2 * MOST), b"long", 0)
        await producer.send_and_wait(BOMBED, b"v", b"headers", 0, headers=[("", b"")] * 20_000)
        await producer.send_and_wait(BOMBED, b"v", b"some", 0, headers=[("a", b"")] * 260)
        program = [sys.executable, "-m", "tests.end_to_end.hostile_names"]
        subprocess.run(
            [*program, settings.bootstrap_servers, BOMBED, "0"],
            env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
            check=True,
        )
        await producer.send_and_wait(BOMBED, b"sound", b"sound", 0)


async def values(records: AsyncIterator[Any]) -> list[bytes]:
    return [record.value async for record in records]


def test_a_topic_is_read_from_its_beginning_to_its_end(settings: Settings) -> None:
    async def read(**options: Any) -> list[bytes]:
        return sorted(await values(read_topic(settings, TOPIC, **options)))

    numbers = [b"%d" % n for n in range(10)]
    assert asyncio.run(read()) == [*numbers, b"no key"]
    assert asyncio.run(read(partitions=[1])) == numbers[1::2]
    assert asyncio.run(read(partitions=[1], before=3)) == numbers[1:6:2]
    assert asyncio.run(read(partitions=[])) == []
    assert asyncio.run(read(before=0)) == []


def test_several_topics_are_read_at_once(settings: Settings) -> None:
    records = asyncio.run(values(read_topic(settings, TOPIC, SHORT)))
    assert len(records) == 11 + 4


def test_the_newest_record_of_each_key_is_found(settings: Settings) -> None:
    latest = asyncio.run(latest_by_key(read_topic(settings, TOPIC)))
    assert {key: record.value for key, record in latest.items()} == {b"k0": b"8", b"k1": b"9"}
    latest = asyncio.run(latest_by_key(read_topic(settings, SHORT)))
    assert {key: record.value for key, record in latest.items()} == {b"kept": b"b"}


def test_a_stretch_is_read_with_a_consumer_that_goes_on(settings: Settings) -> None:
    place = TopicPartition(TOPIC, 1)

    async def read() -> list[list[bytes]]:
        async with open_consumer(settings) as consumer:
            assert await spans_of(consumer, [place]) == {place: (0, 5)}
            first = await values(read_spans(consumer, {place: (1, 3)}))
            none = await values(read_spans(consumer, {place: (3, 3)}))
            again = await values(read_spans(consumer, {place: (0, 1)}))
            consumer.seek(place, 4)
            return [first, none, again, [(await consumer.getone()).value]]

    assert asyncio.run(read()) == [[b"3", b"5"], [], [b"1"], [b"9"]]


def test_records_that_do_not_come_are_not_waited_for_for_ever(settings: Settings) -> None:
    async def read() -> None:
        async with open_consumer(settings) as consumer:
            spans = {TopicPartition(TOPIC, 1): (0, 99)}
            await values(read_spans(consumer, spans, patience_seconds=0.1))

    with pytest.raises(TimeoutError, match=r"no record for 0\.1 s"):
        asyncio.run(read())


@pytest.mark.broker
def test_a_topic_that_is_not_there_is_named(kafka_bootstrap: str) -> None:
    with pytest.raises(TopicError, match="there is no topic 'nowhere'"):
        asyncio.run(values(read_topic(Settings(bootstrap_servers=kafka_bootstrap), "nowhere")))


async def by_topic(settings: Settings) -> list[Any]:
    return [record async for record in read_topic(settings, BOMBED)]


async def by_subscription(settings: Settings) -> list[Any]:
    async with open_consumer(settings, BOMBED) as consumer:
        return [await consumer.getone() for _ in range(6)]


async def by_the_worker(settings: Settings) -> list[Any]:
    """With the consumer that Faust's thread is given, as a member of a group or not."""

    async def nothing(*_: Any) -> None: ...

    app = PromptApp(settings, store="memory://", cache="memory://")
    worker: Any = app.transport.create_consumer(
        nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing
    )
    consumer = worker._thread._create_consumer(asyncio.get_running_loop())
    worker._thread.thread_loop.close()
    async with consumer:
        place = TopicPartition(BOMBED, 0)
        return [record async for record in read_spans(consumer, {place: (0, 6)})]


@pytest.mark.parametrize("reader", [by_topic, by_subscription, by_the_worker])
def test_hostile_batches_are_read_within_bounds(
    settings: Settings, reader: Callable[[Settings], Any]
) -> None:
    bomb, long, headers, some, name, sound = asyncio.run(reader(settings))
    assert (bomb.key, bomb.value) == (None, None)
    assert b"cannot be read" in dict(bomb.headers)[NOTE]
    assert len(long.value) == MOST + 1
    assert [name for name, _ in long.headers] == [NOTE]
    for record in (headers, some):
        assert (record.key, [name for name, _ in record.headers]) == (None, [NOTE])
    assert name.headers == (("\\xff\\xfe\\x80", b"1"), ("after", b"2"))
    assert (sound.value, sound.headers) == (b"sound", ())


def test_each_consumer_has_bounds_of_its_own(settings: Settings) -> None:
    """A dead letter has more headers than the message that was refused, and is read whole."""

    async def read() -> list[int]:
        strict = open_consumer(settings, BOMBED)
        wide = open_consumer(settings, BOMBED, bounds=Bounds.of_dead_letters(settings))
        async with strict, wide:
            return [
                len([await consumer.getone() for _ in range(4)][3].headers)
                for consumer in (strict, wide)
            ]

    assert asyncio.run(read()) == [1, 260]
