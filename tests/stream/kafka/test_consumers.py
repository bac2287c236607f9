"""A consumer whose broker is away can be stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from latentwatch.lab.brokers import MockBroker
from latentwatch.stream.kafka.consumers import stop_consumer

PLACE = TopicPartition("activations", 0)


@asynccontextmanager
async def about_to_fetch_again() -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that lost its broker, and waits before it tries again."""
    with MockBroker(topics={PLACE.topic: 1}) as broker:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=broker.bootstrap_servers,
            enable_auto_commit=False,
            retry_backoff_ms=60_000,
        )
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


def test_it_stops_whole_and_its_caller_goes_on() -> None:
    async def scenario() -> set[str]:
        async with about_to_fetch_again() as consumer:
            await stop_consumer(consumer)
            return await others()

    assert asyncio.run(scenario()) == set()


def test_aiokafka_alone_would_end_its_caller() -> None:
    async def scenario() -> None:
        async with about_to_fetch_again() as consumer:
            try:
                await consumer.stop()
            finally:
                await stop_consumer(consumer)
                await consumer._client.close()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(scenario())


def test_who_is_cancelled_meanwhile_is() -> None:
    async def scenario() -> None:
        async with about_to_fetch_again() as consumer:
            stopping = asyncio.create_task(stop_consumer(consumer))
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            consumer._closed = False
            await stop_consumer(consumer)

    asyncio.run(scenario())
